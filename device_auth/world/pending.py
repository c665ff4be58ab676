"""The current code pair, kept over a restart of the service, within one boot and its lifetime.

Deadlines count from the start of the machine, so they mean nothing after another start: the boot ID shows which. Source: proc(5), ``/proc/sys/kernel/random/boot_id``; clock_gettime(2), ``CLOCK_BOOTTIME``.
"""

import logging
from pathlib import Path
from typing import Final

from device_auth.core.models import CodePair, DialectName, Monotonic, PendingPair, Provider, Seconds, Secret
from device_auth.core.ports import Clock
from device_auth.world.explain import explain
from device_auth.world.fields import MAX_BYTES, Fields, Malformed, read_fields, write_fields
from device_auth.world.files import RUNTIME_MODE, Folder, NotAFile, beside_of

logger = logging.getLogger(__name__)

PENDING: Final = "pending.json"
FILE_MODE: Final = 0o600
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class FilePending:
    """Keeps the code pair in the runtime folder.

    The caller compares the provider in the result of ``read`` with the present one.

    Args:
        directory: the runtime folder, made (0755) when first needed; None if there is none: then nothing is kept.
        clock: for the pair's deadline.
        boot_id: the kernel's file with this boot's ID.
    """

    def __init__(self, directory: Path | None, clock: Clock, *, boot_id: Path = BOOT_ID) -> None:
        self._directory = directory
        self._clock = clock
        self._boot_id = boot_id

    def keep(self, pending: PendingPair) -> None:
        """Keep a code pair in place of any other."""
        if self._directory is None:
            return
        try:
            content = write_fields({"boot_id": read_boot_id(self._boot_id), **_pending_to_json(pending)})
            with Folder.open_to_write(self._directory, RUNTIME_MODE) as folder:
                folder.replace(PENDING, content, FILE_MODE)
        except (OSError, ValueError) as error:
            logger.warning("cannot keep the code pair over a restart: %s", error)

    def read(self) -> PendingPair | None:
        """Return the code pair, or None. A file that is malformed, of another boot, or expired is removed."""
        if self._directory is None:
            return None
        try:
            with Folder.open(self._directory) as folder:
                found = folder.read(PENDING, MAX_BYTES + 1)
            if found is None:
                return None
            return self._read_pending(read_fields(found[0]))
        except FileNotFoundError:
            return None
        except (Malformed, NotAFile) as error:
            logger.info("cannot use the saved code pair: %s", error)
            self.forget()
            return None
        except OSError as error:
            logger.warning("%s", explain("cannot read the code pair", error))
            return None

    def forget(self) -> None:
        """Remove the code pair."""
        if self._directory is None:
            return
        try:
            with Folder.open(self._directory) as folder:
                folder.remove(PENDING)
                folder.remove(beside_of(PENDING))
        except FileNotFoundError:
            return
        except OSError as error:
            logger.warning("%s", explain("cannot remove the code pair", error))

    def _read_pending(self, fields: Fields) -> PendingPair:
        if fields.filled_text("boot_id") != read_boot_id(self._boot_id):
            raise Malformed("the pair is from another boot")
        pending = _pending_from_json(fields)
        left = pending.pair.expires_at - self._clock.now()
        if left <= 0:
            raise Malformed("it has expired")
        if left > pending.pair.expires_in or pending.interval <= 0 or pending.pair.interval <= 0:
            raise Malformed("the times of the pair are impossible")
        return pending


def read_boot_id(path: Path) -> str:
    """Return the ID of this start of the machine, from the kernel's file."""
    return path.read_bytes().decode("ascii", "replace").strip()  # as a text it loads a codec


def _pending_to_json(pending: PendingPair) -> dict[str, object]:
    pair, provider = pending.pair, pending.provider
    return {
        "interval": pending.interval,
        "pair": {
            "user_code": pair.user_code,
            "device_code": pair.device_code.reveal(),
            "verification_uri": pair.verification_uri,
            "prefilled_uri": pair.prefilled_uri,
            "expires_in": pair.expires_in,
            "expires_at": pair.expires_at,
            "interval": pair.interval,
        },
        "provider": {
            "dialect": provider.dialect,
            "client_id": provider.client_id,
            "scope": provider.scope,
            "device_endpoint": provider.device_endpoint,
            "token_endpoint": provider.token_endpoint,
            "revocation_endpoint": provider.revocation_endpoint,
            "userinfo_endpoint": provider.userinfo_endpoint,
            "secret_by_basic": provider.secret_by_basic,
            "issuer": provider.issuer,
            "product_id": provider.product_id,
            "dsn": provider.dsn,
            "locale": provider.locale,
        },
    }


def _pending_from_json(fields: Fields) -> PendingPair:
    pair, provider = fields.fields("pair"), fields.fields("provider")
    return PendingPair(
        interval=Seconds(fields.number("interval")),
        pair=CodePair(
            user_code=pair.filled_text("user_code"),
            device_code=Secret(pair.filled_text("device_code")),
            verification_uri=pair.filled_text("verification_uri"),
            prefilled_uri=pair.optional_text("prefilled_uri"),
            expires_in=Seconds(pair.number("expires_in")),
            expires_at=Monotonic(pair.number("expires_at")),
            interval=Seconds(pair.number("interval")),
        ),
        provider=Provider(
            dialect=provider.word("dialect", DialectName),
            client_id=provider.text("client_id"),
            scope=provider.text("scope"),
            device_endpoint=provider.text("device_endpoint"),
            token_endpoint=provider.text("token_endpoint"),
            revocation_endpoint=provider.text("revocation_endpoint"),
            userinfo_endpoint=provider.text("userinfo_endpoint"),
            secret_by_basic=provider.truth("secret_by_basic"),
            issuer=provider.text("issuer"),
            product_id=provider.text("product_id"),
            dsn=provider.text("dsn"),
            locale=provider.text("locale"),
        ),
    )
