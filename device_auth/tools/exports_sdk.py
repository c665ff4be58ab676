"""The export to Amazon's AVS Device SDK, which keeps its link in the SQLite databases of its configuration.

============ ============================== ==============================================================
SDK          database                       tables that it reads
============ ============================== ==============================================================
1.7 to 1.24  ``cblAuthDelegate``            table ``refreshToken``, one row; it must be there
1.25         ``lwaAuthorization``           tables ``refreshToken`` and ``userId``: a row in both, or in neither
1.26 and on  the one or the other           moves these two tables' rows into ``config_LWAAuthorizationStorage``
                                            at its start, sealing them if it was built to, and drops the tables
1.25 and on  ``miscDatabase``               which adapter is active, and whose user it has
============ ============================== ==============================================================

The link is written in one place, once: a copy in a database that the client does not use would stay there for ever, as
the SDK migrates, empties and logs out of its own alone. The tables that it made at an earlier start show which that is.

The user ID must only be equal in all places: the SDK does not ask Amazon about it while it has a refresh token. If the
account of the link is unknown, the row has an empty text. 1.25 itself writes that if it could not learn the user, and
counts it as present; 1.26 takes it for none.

The active adapter is written, not cleared: without one the SDK refreshes the token but passes it to no other part
(``m_activeAdapter`` is set at start from the stored one, or by linking); with another user than the adapter's it takes
the token for another user's and logs out.

Source: alexa/avs-device-sdk, ``SQLiteCBLAuthDelegateStorage.cpp`` (1.7 to 1.24), ``SQLiteLWAAuthorizationStorage.cpp``
and ``LWAAuthorizationAdapter.cpp`` (1.25), ``LWAStorageDataMigration.cpp``, ``LWAAuthorizationStorage.cpp`` and
``EncryptedProperties.cpp`` (1.26), ``AuthorizationManager.cpp`` and ``AuthorizationManagerStorage.cpp``,
``SQLiteMiscStorage.cpp``.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.core.errors import ConfigError, DeviceAuthError
from device_auth.core.models import Link
from device_auth.tools import exports, json_files
from device_auth.tools.databases import Column, Database, Row, Table, check_settled
from device_auth.tools.exports import MASK, Change, ExportPlan, Rewrite, Unit
from device_auth.world.explain import store_error

FORMAT: Final = "avs-device-sdk"

CBL: Final = "cblAuthDelegate"
LWA: Final = "lwaAuthorization"
MISC: Final = "miscDatabase"
PATH_KEY: Final = "databaseFilePath"

USUAL_FILES: Final = {CBL: "cblAuthDelegate.db", LWA: "lwaAuthorizationAdapter.db", MISC: "miscDatabase.db"}
"""Their names by the SDK's installer. Source: ``tools/Install/genConfig.sh``."""

USUAL_ADDRESS: Final = "https://api.amazon.com/auth/O2/"
"""The SDK's default. Source: ``LWAAuthorizationConfiguration.cpp``."""

ADAPTER: Final = "lwa-adapter"
SEAL: Final = "$acsdkEncryption$"
"""The key that marks a table with sealed values."""

LWA_USER: Final = "amzn1.account."
"""The start of LWA's user IDs; other names of an account are not user IDs."""


def _single(name: str) -> Table:
    return Table(name, f"CREATE TABLE {name} ({name} TEXT)", (Column(name, "TEXT", 0, 0),))


def _pairs(name: str) -> Table:
    return Table(
        name,
        f"CREATE TABLE {name} (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)",
        (Column("key", "TEXT", 1, 1), Column("value", "TEXT", 1, 0)),
    )


TOKEN: Final = _single("refreshToken")
USER: Final = _single("userId")
STORAGE: Final = _pairs("config_LWAAuthorizationStorage")
ACTIVE: Final = _pairs("AuthorizationManager_authorizationState")


class SdkLayout(NamedTuple):
    """The tables of a version of the SDK.

    Attributes:
        sections: of the configuration; the database of the first that it has holds the link.
        has_user: there is a user ID beside the token.
        has_pairs: the new table is written instead of the two old ones.
    """

    sections: tuple[str, ...]
    has_user: bool = True
    has_pairs: bool = False


OLDEST: Final = "1.7-1.24"

LAYOUTS: Final = {
    OLDEST: SdkLayout((CBL,), has_user=False),
    "1.25": SdkLayout((LWA,)),
    "1.26+": SdkLayout((LWA, CBL), has_pairs=True),
}

Wanted = dict[Table, Sequence[Row] | None]
"""The rows of each table; None for no such table."""


def plan(link: Link, unit: Unit, config_file: Path, version: str = "") -> ExportPlan:
    """Plan the changes of the SDK's databases.

    Args:
        link: that is handed over.
        unit: the speaker by its settings.
        config_file: the client's ``AlexaClientSDKConfig.json``; read, never written.
        version: one of ``LAYOUTS``; empty to take it from the client's databases.

    Raises:
        DeviceAuthError: if the configuration or a database is unusable, or in use, or several may be the client's.
    """
    config_file, config = _read(config_file)
    _check_client(config, config_file, link)
    named = _named_databases(config, config_file)
    layout = LAYOUTS[version] if version else _find_layout(named, config_file)
    holder = _holder_of(named, layout, config_file)
    sections = (MISC, holder) if holder == LWA else (holder,)
    paths = dict.fromkeys(named[section] for section in sections)
    files = tuple(
        _plan_database(path, [section for section in sections if named[section] == path], link, layout)
        for path in paths
    )
    warnings = [
        *_mismatches(config, config_file, unit),
        *_other_endpoints(config, config_file, link, holder),
        *_copies_elsewhere(named, paths),
    ]
    return ExportPlan(
        files, tuple(warnings), "Start the client: it goes on with this link, and needs no code."
    )


def database_paths(config_file: Path) -> list[Path]:
    """Return the databases that a configuration names.

    Raises:
        ConfigError: if it cannot be used.
        StoreError: if it cannot be read.
    """
    config_file, config = _read(config_file)
    return list(_named_databases(config, config_file).values())


def _read(config_file: Path) -> tuple[Path, dict[str, object]]:
    path = config_file.absolute()
    return path, json_files.read_object(exports.read_config(path), path, may_have_comments=True)


# ---------------------------------------------------------------------------------------------------------
# The configuration


def _check_client(config: Mapping[str, object], path: Path, link: Link) -> None:
    """Check that the refresh token belongs to this client.

    Raises:
        ConfigError: if it does not, or the client is unknown.
    """
    given = json_files.text(config, "clientId", path, "deviceInfo")
    wanted = _snippet("deviceInfo", clientId=link.client_id)
    if not given:
        raise ConfigError(f"{path} has no deviceInfo.clientId", hint=f"Add to it: {wanted}")
    if given != link.client_id:
        raise ConfigError(
            f"deviceInfo.clientId in {path} is another client ID than the link's: its refresh token would be rejected",
            hint=f"If that client is to have this link, write there: {wanted}",
        )


def _mismatches(config: Mapping[str, object], path: Path, unit: Unit) -> list[str]:
    """Return a warning for each name of the client that is missing or differs from the settings."""
    warnings = []
    for name, value in (("productId", unit.product_id), ("deviceSerialNumber", unit.dsn)):
        given = json_files.text(config, name, path, "deviceInfo")
        if not given:
            example = _snippet("deviceInfo", **{name: value or "…"})
            warnings.append(f"{path} has no deviceInfo.{name}, which the client needs. Add: {example}")
        elif value and given != value:
            warnings.append(
                f"deviceInfo.{name} in {path} is {given}, but this speaker was linked as {value}."
            )
    return warnings


def _other_endpoints(config: Mapping[str, object], path: Path, link: Link, holder: str) -> Iterator[str]:
    """Yield a warning if the client's endpoint is not the link's."""
    base = json_files.text(config, "lwaUrl", path, holder) or USUAL_ADDRESS
    address = f"{base.rstrip('/')}/token"
    if address != link.token_endpoint:
        yield f"The client sends its requests to {address} ({holder}), but the link belongs to {link.token_endpoint}."


def _named_databases(config: Mapping[str, object], path: Path) -> dict[str, Path]:
    """Return the database of each section of the configuration that has one."""
    return {name: found for name in (MISC, LWA, CBL) if (found := _database_of(config, name, path))}


def _holder_of(named: Mapping[str, Path], layout: SdkLayout, path: Path) -> str:
    """Return the section whose database is to hold the link.

    Raises:
        ConfigError: if the configuration names no such database, or not that of the manager beside it.
    """
    folder = next(iter(named.values()), path).parent
    holder = next((name for name in layout.sections if name in named), None)
    if holder is None:
        raise ConfigError(
            f"{path} names no database for the link",
            hint=f"Add to it: {_where(layout.sections[0], folder)}",
        )
    if holder == LWA and MISC not in named:
        raise ConfigError(f"{path} names no {MISC}", hint=f"Add to it: {_where(MISC, folder)}")
    return holder


def _find_layout(named: Mapping[str, Path], path: Path) -> SdkLayout:
    """Return the layout by which the client reads its link, as its own tables show it.

    Raises:
        ConfigError: if several databases may hold it, and none of them or more than one has been in use.
    """
    tables = {name: _tables_in(named[name]) for name in (LWA, CBL) if name in named}
    if len({named[name] for name in tables}) > 1:
        used = [name for name in tables if tables[name] & {TOKEN.name, USER.name, STORAGE.name}]
        if len(used) != 1:
            raise ConfigError(
                f"{path} names two databases for the link, {named[LWA]} and {named[CBL]}, and "
                + ("both have been in use" if used else "neither has been in use yet"),
                hint=f"Name the client's version with --sdk: {', '.join(LAYOUTS)}. One that was built with the older"
                f" CBLAuthDelegate takes {OLDEST}, whatever its version.",
            )
        tables = {used[0]: tables[used[0]]}
    holder = next(iter(tables), LWA)
    is_new = STORAGE.name in tables.get(holder, ()) and not _is_sealed(named[holder])
    # the two older tables serve every version, and one that seals moves and seals what it finds there
    return SdkLayout((holder,), has_user=holder == LWA, has_pairs=is_new)


def _tables_in(path: Path) -> frozenset[str]:
    """Return the tables of a database; none if there is no such file."""
    with _looked_at(path) as database:
        return database.tables()


def _is_sealed(path: Path) -> bool:
    with _looked_at(path) as database:
        return _has_seal(database.rows_of(STORAGE))


@contextmanager
def _looked_at(path: Path) -> Iterator[Database]:
    """Open a database to read it; an empty one if there is no such file."""
    content = b""
    with suppress(OSError):
        content = exports.look_at(path).content or b"" if path.exists() else b""
        check_settled(path)
    with Database(content, path) as database:
        yield database


def _database_of(config: Mapping[str, object], name: str, path: Path) -> Path | None:
    given = json_files.text(config, PATH_KEY, path, name)
    if "\0" in given:
        raise ConfigError(f"{name}.{PATH_KEY} in {path} is no path", hint="Remove the character \\u0000.")
    if given and not Path(given).is_absolute():
        raise ConfigError(
            f"{name}.{PATH_KEY} in {path} is the relative path {given}, which depends on the folder in which the client is started",
            hint="Write the absolute path there: it begins with /.",
        )
    return Path(given) if given else None


def _where(name: str, folder: Path) -> str:
    return _snippet(name, **{PATH_KEY: str(folder / USUAL_FILES[name])})


def _snippet(name: str, **members: str) -> str:
    return f'"{name}": {json.dumps(members, ensure_ascii=False)}'


# ---------------------------------------------------------------------------------------------------------
# The databases


def _plan_database(path: Path, sections: list[str], link: Link, layout: SdkLayout) -> Rewrite:
    old = exports.look_at(path)
    try:
        check_settled(old.path)
    except OSError as error:
        raise store_error(f"cannot read the files beside {path}", error) from error
    wanted: Wanted = {}
    if MISC in sections:
        wanted[ACTIVE] = [("authAdapterId", ADAPTER), ("userId", _user_of(link))]
    with Database(old.content or b"", old.path) as database:
        if sections != [MISC]:
            wanted |= _wanted_of_link(database, old.path, link, layout)
        changes = [change for table, rows in wanted.items() for change in _change(database, table, rows)]
        content = database.written() if changes else old.content or b""
    return Rewrite(old, content, tuple(changes), is_database=True)


def _wanted_of_link(database: Database, path: Path, link: Link, layout: SdkLayout) -> Wanted:
    token, user = link.refresh_token.reveal(), _user_of(link)
    stored = database.rows_of(STORAGE)
    is_sealed = _has_seal(stored)
    if layout.has_pairs and is_sealed:
        raise ConfigError(
            f"the client seals the values in {path}, so no other program can write them",
            hint="Leave --sdk out: the client takes the link from two other tables, and seals it itself.",
        )
    if layout.has_pairs:
        return {STORAGE: [("refreshToken", token), ("userId", user)], TOKEN: None, USER: None}
    wanted: Wanted = {TOKEN: [(token,)]}
    if layout.has_user or database.rows_of(USER) is not None:
        wanted[USER] = [(user,)]
    if stored is not None and not is_sealed:
        wanted[STORAGE] = []
    return wanted


def _has_seal(rows: Sequence[Row] | None) -> bool:
    return rows is not None and any(row[0] == SEAL for row in rows)


def _copies_elsewhere(named: Mapping[str, Path], written: Collection[Path]) -> Iterator[str]:
    """Yield a warning for a refresh token in a database that the client does not use: it would stay there."""
    for path in named.values():
        if path in written:
            continue
        held: list[object] = []
        with suppress(DeviceAuthError), _looked_at(path) as database:
            held = [database.rows_of(table) for table in (TOKEN, STORAGE)]
        if any(held):
            yield f"{path}, which the client does not use, holds the refresh token of another link. Remove that file."


def _user_of(link: Link) -> str:
    # a link of an earlier version has no account_id
    user = link.account_id or link.account or ""
    return user if user.startswith(LWA_USER) else ""


def _change(database: Database, table: Table, rows: Sequence[Row] | None) -> list[Change]:
    """Write the rows of a table unless they are there; return the change."""
    present = database.rows_of(table)
    if rows is None and present is not None:
        database.drop(table)
    elif rows is not None and sorted(present or [], key=repr) != sorted(rows, key=repr):
        database.write(table, rows)
    else:
        return []
    return [Change(f"table {table.name}", _shown(table, present), _shown(table, rows))]


def _shown(table: Table, rows: Sequence[Row] | None) -> str | None:
    """Return rows for people, with tokens masked."""
    if rows is None:
        return None
    return "; ".join(_shown_row(table, row) for row in rows) or "no row"


def _shown_row(table: Table, row: Row) -> str:
    if table == TOKEN:
        return MASK
    if table == STORAGE and row[0] != "userId":
        return f"{row[0]} = {MASK}"
    return " = ".join(str(value) if value else "(empty)" for value in row)
