"""The file of the simulated Amazon's clients: IDs, secrets, dialects and redirect URIs, as TOML.

No message repeats a value of the file, for it may be a secret.
"""

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName
from device_auth.simulator.authorization import REDIRECT_URI_RULE, is_redirect_uri
from device_auth.simulator.clients import is_client_id
from device_auth.simulator.models import RegisteredClient
from device_auth.world.explain import explain
from device_auth.world.files import read_plain
from device_auth.world.settings import quoted

LARGEST_FILE: Final = 65_536
TABLE: Final = "client"
"""The name of the table that the file has for each client."""

_OPEN_TO_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_KEYS: Final = frozenset({"id", "secret", "dialects", "redirect_uris"})
_HINT: Final = (
    f"Each client is a table [[{TABLE}]] with id and, if it has them, secret, dialects, redirect_uris."
)


def read_clients(path: Path) -> dict[str, RegisteredClient]:
    """Read the clients by their ID.

    Raises:
        ConfigError: if the file cannot be read, is not TOML, has no client or one that is described wrongly; or if
            other users can read a secret in it, or change it.
    """
    raw, mode = _read(path)
    try:
        table = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        where = f": {error}" if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise ConfigError(f"{path} is not valid TOML{where}", hint=_HINT) from None
    entries = table.pop(TABLE, None)
    if not isinstance(entries, list) or not entries or table:
        raise ConfigError(f"{path} is not a list of clients", hint=_HINT)
    clients: dict[str, RegisteredClient] = {}
    for number, entry in enumerate(entries, start=1):
        client_id, client = _read_client(f"client {number} of {path}", entry)
        if client_id in clients:
            raise ConfigError(
                f"client {number} of {path} has the ID of another", hint="Name each client once."
            )
        clients[client_id] = client
    if any(client.secret for client in clients.values()):
        _refuse_open(path, mode)
    elif mode & stat.S_IWOTH:
        raise ConfigError(f"any user can change {path}", hint=f"Run: chmod o-w {quoted(path)}")
    return clients


def _read_client(where: str, entry: object) -> tuple[str, RegisteredClient]:
    if not isinstance(entry, Mapping) or not entry.keys() <= _KEYS:
        raise ConfigError(f"{where} has a key that is not known", hint=_HINT)
    client_id, secret = entry.get("id"), entry.get("secret")
    if not isinstance(client_id, str) or not is_client_id(client_id, DialectName.RFC8628):
        raise ConfigError(f"{where} has no id, or one that cannot be a client ID", hint=_HINT)
    if secret is not None and (not isinstance(secret, str) or not secret):
        raise ConfigError(
            f"the secret of {where} is not a text", hint="Leave it out for a client without one."
        )
    possible = frozenset(each for each in DialectName if is_client_id(client_id, each))
    names = _texts(f"dialects of {where}", entry.get("dialects"))
    if names is not None and not names <= {each.value for each in possible}:
        raise ConfigError(
            f"the dialects of {where} are not among {', '.join(sorted(possible))}",
            hint="IDs of Login with Amazon (lwa) begin with amzn1.application-oa2-client. and have 32 characters more.",
        )
    addresses = _texts(f"redirect_uris of {where}", entry.get("redirect_uris"))
    if not all(is_redirect_uri(each, None) for each in addresses or ()):
        raise ConfigError(
            f"the redirect_uris of {where} are not all allowed",
            hint=REDIRECT_URI_RULE,
        )
    dialects = possible if names is None else frozenset(map(DialectName, names))
    return client_id, RegisteredClient(secret=secret, dialects=dialects, redirect_uris=addresses)


def _texts(what: str, value: object) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigError(f"the {what} are not a list of texts", hint=_HINT)
    return frozenset(value)


def read_client_secrets(path: Path) -> dict[str, RegisteredClient]:
    """Read the former kind of file: on each line the ID of a client of LWA and its secret.

    Empty lines, and those that begin with ``#``, are skipped.

    Raises:
        ConfigError: if the file cannot be read, others may read it, or a line is not a client ID and a secret.
    """
    raw, mode = _read(path)
    _refuse_open(path, mode)
    clients: dict[str, RegisteredClient] = {}
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        client_id, _, secret = line.strip().partition(" ")
        secret = secret.strip()
        if not is_client_id(client_id, DialectName.LWA) or not secret or client_id in clients:
            raise ConfigError(
                f"line {number} of {path} is not a new client ID and its secret",
                hint="Write on each line: the client ID (amzn1.application-oa2-client.…), a space, its secret.",
            )
        clients[client_id] = RegisteredClient(secret=secret)
    return clients


def _read(path: Path) -> tuple[bytes, int]:
    """Return the content and the mode of a file."""
    try:
        raw, status = read_plain(path, LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(
            explain(f"cannot read {path}", error), hint="Check the path and the owner of the file."
        ) from error
    if len(raw) > LARGEST_FILE:
        raise ConfigError(f"{path} is too large for a file of clients", hint="Name a file of at most 64 KiB.")
    return raw, status.st_mode


def _refuse_open(path: Path, mode: int) -> None:
    if mode & _OPEN_TO_OTHERS:
        raise ConfigError(f"other users can read {path}", hint=f"Run: chmod 600 {quoted(path)}")
