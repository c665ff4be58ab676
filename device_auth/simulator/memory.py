"""The simulated Amazon's memory between processes: grants, and fingerprints of tokens.

No token is written: a refresh token is recognised by its SHA-256.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from device_auth.core.errors import StoreError
from device_auth.core.models import DialectName, Flow
from device_auth.simulator.models import Applicant, Grant, KeptToken
from device_auth.world.files import Folder

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Remembered:
    """The content of the memory; ``drawn`` counts the values drawn from the seed."""

    drawn: int
    grants: dict[int, Grant]
    refresh_tokens: dict[str, KeptToken]


def fingerprint(token: str) -> str:
    """Return the SHA-256 of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def remember(path: Path, remembered: Remembered) -> None:
    """Write the file, readable by its owner alone.

    Raises:
        StoreError: if it cannot be written.
    """
    content = {
        "version": _VERSION,
        "drawn": remembered.drawn,
        "grants": [_grant_to_json(grant) for grant in remembered.grants.values()],
        "refresh_tokens": {
            mark: {"grant_id": kept.grant_id, "is_replaced": kept.is_replaced}
            for mark, kept in remembered.refresh_tokens.items()
        },
    }
    try:
        with Folder.open(path.parent) as folder:
            folder.replace(path.name, json.dumps(content, indent=1).encode(), 0o600)
    except OSError as error:
        raise StoreError(
            f"the simulated Amazon cannot write {path}", hint="Choose another folder."
        ) from error


def recall(path: Path) -> Remembered:
    """Read the file.

    Raises:
        StoreError: if it cannot be read, or is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            raise ValueError(content["version"])  # noqa: TRY301  # reported like any other damage
        grants = {grant.grant_id: grant for grant in map(_grant_from_json, content["grants"])}
        refresh_tokens = {
            mark: KeptToken(kept["grant_id"], is_replaced=kept["is_replaced"] is True)
            for mark, kept in content["refresh_tokens"].items()
            if kept["grant_id"] in grants
        }
        return Remembered(int(content["drawn"]), grants, refresh_tokens)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        hint = "Delete the file; the simulated links that it remembers are then gone."
        raise StoreError(f"the simulated Amazon cannot read {path}", hint=hint) from error


def _grant_to_json(grant: Grant) -> dict[str, object]:
    applicant = grant.applicant
    return {
        "grant_id": grant.grant_id,
        "is_revoked": grant.is_revoked,
        "refreshes": grant.refreshes,
        "flow": grant.flow.value,
        "dialect": applicant.dialect.value,
        "client_id": applicant.client_id,
        "scopes": list(applicant.scopes),
        "product_id": applicant.product_id,
        "dsn": applicant.dsn,
    }


def _grant_from_json(kept: dict[str, object]) -> Grant:
    scopes = kept["scopes"]
    if not isinstance(scopes, list) or not isinstance(kept["grant_id"], int):
        raise TypeError(kept)
    return Grant(
        grant_id=kept["grant_id"],
        applicant=Applicant(
            dialect=DialectName(str(kept["dialect"])),
            client_id=str(kept["client_id"]),
            scopes=tuple(str(scope) for scope in scopes),
            product_id=str(kept["product_id"]),
            dsn=str(kept["dsn"]),
        ),
        user_code="",
        flow=Flow(str(kept.get("flow", Flow.DEVICE_CODE))),
        is_revoked=kept["is_revoked"] is True,
        refreshes=int(str(kept["refreshes"])),
    )
