"""Bring a database's tables to this program's revision, or back to an earlier one, by Alembic."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, inspect, text

from device_auth.core.errors import ConfigError
from device_auth.factory.station.records.databases import reading, writing

if TYPE_CHECKING:
    from alembic.config import Config

NEWEST: Final = "judged_3"
"""The revision that this program reads and writes."""

NONE: Final = "base"
"""The revision of a database without our tables."""

_MIGRATIONS: Final = Path(__file__).parent / "migrations"

_OF_UPGRADES: Final = 0x6465_7669_6365
"""The number of PostgreSQL's lock that one upgrade at a time holds."""


class WrongRevision(ConfigError):
    """The tables of a database are not those of this program."""


def revision_of(engine: Engine) -> str:
    """Return the revision of a database; ``NONE`` if our tables are not there."""
    with reading(engine) as connection:
        return _revision(connection)


def check_revision(connection: Connection) -> None:
    """Raise WrongRevision unless a database has the tables of this program."""
    found = _revision(connection)
    if found == NEWEST:
        return
    is_older = found == NONE or found in _known()
    hint = (
        "Run: device-auth factory database upgrade STATION.toml"
        if is_older
        else "Install the version of device-auth that the other stations have."
    )
    name = "no tables" if found == NONE else f"the tables of revision {found}"
    raise WrongRevision(f"the database has {name}, this program needs {NEWEST}", hint=hint)


def prepare(engine: Engine) -> None:
    """Bring a station's own file to this program's tables."""
    found = revision_of(engine)
    if found != NEWEST:
        migrate(engine)


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring a database to a revision: all of it, or nothing.

    Raises:
        ConfigError: if the database was made by a newer program.
    """
    from alembic import command

    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _OF_UPGRADES})
        found = _revision(connection)
        if found != NONE and found not in _known():
            check_revision(connection)
        config = _config()
        config.attributes["connection"] = connection
        if revision == "head" or (revision != NONE and _is_later(revision, found)):
            command.upgrade(config, revision)
        else:
            command.downgrade(config, revision)


def write_sql(dialect: str) -> str:
    """Return the statements that make the tables, for an administrator to run."""
    from alembic import command

    config = _config()
    config.output_buffer = written = io.StringIO()
    config.attributes["dialect"] = dialect
    command.upgrade(config, "head", sql=True)
    return written.getvalue()


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return NONE
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or NONE


def _known() -> list[str]:
    """Return the revisions of this program, the first one first."""
    from alembic.script import ScriptDirectory

    walked = ScriptDirectory.from_config(_config()).walk_revisions()
    return [each.revision for each in walked][::-1]


def _is_later(revision: str, other: str) -> bool:
    known = [NONE, *_known()]
    return known.index(revision) > known.index(other)


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
