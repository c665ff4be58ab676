"""Keys for tests, found without looking anywhere."""

import json
from functools import partial
from typing import TYPE_CHECKING

from device_auth.world.envelope import KeyProvider, Plain
from device_auth.world.keys import KEY_FILE, Keys, KeyTrouble
from device_auth.world.sealing import SealingKey

if TYPE_CHECKING:
    from collections.abc import Callable


def make_key(name: str = KEY_FILE, kind: str = "a") -> SealingKey:
    """Make a key of its own for each name and kind."""
    return SealingKey(
        name, f"canary key of {name}, of kind {kind}".encode(), "Protects nothing: it is known."
    )


def keys_of(*providers: KeyProvider) -> Keys:
    """Return keys of which the first seals; of the other providers none can be had."""
    sources: dict[str, Callable[[], SealingKey | KeyTrouble]] = {
        key.name: partial(_same, key) for key in providers if not isinstance(key, Plain)
    }
    return Keys(providers[0].name, sources)


def key_of(content: bytes) -> str:
    """Return the key that an envelope is sealed under."""
    return str(json.loads(content)["key_provider"])


def _same(key: SealingKey) -> SealingKey:
    return key
