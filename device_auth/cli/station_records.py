"""The database that a verb of the station's records works on, as the station's file names it."""

from argparse import ArgumentParser, Namespace
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from device_auth.core.errors import WrongUse
from device_auth.world.clock import BootClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from device_auth.factory.station.plan import StationPlan
    from device_auth.factory.station.records.by_hand import LedgerByHand

HERE: Final = "this station's own records, not the database of all stations"


def add_station(parser: ArgumentParser) -> None:
    """Add the argument that every verb of the records has."""
    parser.add_argument("station", type=Path, metavar="STATION.toml", help="the station's file")


def add_choice(parser: ArgumentParser) -> None:
    """Add the options that choose which records are read."""
    add_station(parser)
    parser.add_argument("--here", action="store_true", help=f"read {HERE}")
    parser.add_argument(
        "--since", metavar="DATE", help="only runs from this day (UTC) on, such as 2026-11-30"
    )


class OpenedRecords(NamedTuple):
    """The records that a verb works on.

    Attributes:
        engine: of the database of all stations, or of the station's own file.
        is_shared: whether it is the first.
    """

    engine: "Engine"
    plan: "StationPlan"
    is_shared: bool

    def by_hand(self, reason: str) -> "LedgerByHand":
        """Return the ledger for a person's change."""
        from device_auth.factory.station.records.by_hand import LedgerByHand
        from device_auth.factory.station.records.ledger import LedgerEntry

        millis = round(BootClock().wall() * 1000)
        entry = LedgerEntry(self.plan.station_id, self.plan.operator, millis, millis, reason=reason)
        return LedgerByHand(self.engine, self.is_shared, entry)


@contextmanager
def open_records(args: Namespace, *, is_prepared: bool = True) -> "Iterator[OpenedRecords]":
    """Open the records that a verb works on: the database of all stations, if the station's file names one.

    Raises:
        ConfigError: if the station's file is wrong, an extra package is missing, or the database has other tables.
        DatabaseAway: if it cannot be reached.
    """
    from device_auth.factory.station.plan import read_plan
    from device_auth.factory.station.records import schema
    from device_auth.factory.station.records.databases import (
        open_database,
        open_station_file,
        read_address,
        reading,
    )
    from device_auth.world.explain import store_error
    from device_auth.world.files import make_folder

    plan = read_plan(args.station)
    is_shared = bool(plan.database) and not getattr(args, "here", False)
    if is_shared:
        engine = open_database(read_address(plan.database, plan.password_file))
    else:
        try:
            make_folder(plan.folder, 0o700)
        except OSError as error:
            raise store_error(f"cannot use the station's folder {plan.folder}", error) from error
        engine = open_station_file(plan.folder)
    try:
        if not is_shared:
            schema.prepare(engine)
        elif is_prepared:
            with reading(engine) as connection:
                schema.check_revision(connection)
        yield OpenedRecords(engine, plan, is_shared)
    finally:
        engine.dispose()


def read_since(args: Namespace) -> int:
    """Return the moment that ``--since`` names, in milliseconds since 1970; 0 if it was not given."""
    if args.since is None:
        return 0
    try:
        day = datetime.fromisoformat(args.since)
    except ValueError as error:
        raise WrongUse("--since is not a day such as 2026-11-30") from error
    return round((day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp() * 1000)
