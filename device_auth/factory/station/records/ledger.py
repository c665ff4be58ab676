"""The ledger of DSNs: blocks to stations, single numbers to units; no number is given twice.

The one idea: a number changes hands only in a transaction of the database that has it. A block leaves the database of all
stations before its numbers are known at a station, so that a crash between the two costs no number: the station asks which
blocks are its own. From then on the station alone gives them, from its own file.

Every function works within a transaction of its caller, on either kind of database.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, Select, case, insert, or_, select, update

from device_auth.core.errors import Busy, WrongUse
from device_auth.factory.check_digit import ANY_DSN, has_check_digit
from device_auth.factory.station.records.databases import insert_or_update
from device_auth.factory.station.records.tables import (
    BLOCKED,
    BURNT,
    DSN_STATES,
    FREE,
    GIVEN,
    LOCKED,
    WRITTEN,
    dsn,
    dsn_block,
    identity_event,
)
from device_auth.factory.station.records.units import mark_scrapped
from device_auth.factory.station.run_record import DsnProblem, DsnRefused, DsnRule

_WORDS: Final = {
    DsnProblem.MALFORMED: "cannot be one: wrong letters, length or check digit",
    DsnProblem.UNKNOWN: "is not in the ledger",
    DsnProblem.FOREIGN: "belongs to another product or station",
    DsnProblem.DOUBLE: "was given to another unit",
    DsnProblem.LOCKED: "is locked in another unit",
    DsnProblem.BURNT: "is burnt",
    DsnProblem.UNCLEAR: "is not known here, and the database of all stations does not answer",
}


def refusal(number: str, problem: DsnProblem) -> DsnRefused:
    """Return the error of a DSN that is not taken."""
    return DsnRefused(problem, f"the DSN {number[:32]!a} {_WORDS[problem]}")


class NoDsnLeft(Busy):
    """There is no free DSN for this product."""


class DsnRow(NamedTuple):
    """One number and what is known of it, as it stands in the table ``dsn``."""

    dsn: str
    block_uuid: str
    product: str
    state: str
    station_id: str | None
    board: str
    run_uuid: str
    moves: int


class LedgerEntry(NamedTuple):
    """What surrounds a change of a DSN, for its event: who, where and when."""

    station_id: str
    operator: str
    time_millis: int
    order_millis: int
    run_uuid: str = ""
    reason: str = ""


# ---------------------------------------------------------------------------------------------------------
# Numbers come in


def add_block(connection: Connection, product: str, numbers: Sequence[str]) -> None:
    """Add free DSNs, to be taken by a station together.

    Raises:
        WrongUse: if one of them is there already.
    """
    there = connection.execute(select(dsn.c.dsn).where(dsn.c.dsn.in_(numbers)).limit(1)).scalar()
    if there is not None:
        raise WrongUse(f"the DSN {there} is in the ledger already", hint="Nothing was added.")
    block = str(uuid4())
    connection.execute(
        insert(dsn_block),
        {"block_uuid": block, "product": product, "first": numbers[0], "size": len(numbers)},
    )
    connection.execute(
        insert(dsn),
        [{"dsn": number, "block_uuid": block, "product": product, "state": FREE} for number in numbers],
    )


# ---------------------------------------------------------------------------------------------------------
# Blocks to stations


def take_block(connection: Connection, product: str, station_id: str) -> bool:
    """Assign the next free block of a product to a station; return whether there was one."""
    free = (
        select(dsn_block.c.block_uuid)
        .where(dsn_block.c.product == product, dsn_block.c.station_id.is_(None))
        .order_by(dsn_block.c.first)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return _take(connection, free, station_id)


def take_block_of(connection: Connection, number: str, station_id: str) -> bool:
    """Assign the block of a DSN that no station has to one; return whether that was so."""
    free = (
        select(dsn_block.c.block_uuid)
        .join(dsn, dsn.c.block_uuid == dsn_block.c.block_uuid)
        .where(dsn.c.dsn == number, dsn_block.c.station_id.is_(None))
        .with_for_update(of=dsn_block)
    )
    return _take(connection, free, station_id)


def _take(connection: Connection, free: Select[tuple[str]], station_id: str) -> bool:
    """Assign the block that is found to a station; return whether there is one."""
    block = connection.execute(free).scalar()
    if block is None:
        return False
    connection.execute(update(dsn_block).where(dsn_block.c.block_uuid == block).values(station_id=station_id))
    connection.execute(
        update(dsn)
        .where(dsn.c.block_uuid == block, dsn.c.state == FREE)
        .values(state=BLOCKED, station_id=station_id)
    )
    return True


def blocks_of(connection: Connection, station_id: str) -> set[str]:
    """Return the blocks that a station has."""
    return set(
        connection.execute(
            select(dsn_block.c.block_uuid).where(dsn_block.c.station_id == station_id)
        ).scalars()
    )


# ---------------------------------------------------------------------------------------------------------
# Single numbers to units


def find(connection: Connection, number: str) -> DsnRow | None:
    """Return what is known of a DSN."""
    return _row_of(connection, select(dsn).where(dsn.c.dsn == number))


def find_of_board(connection: Connection, board: str) -> DsnRow | None:
    """Return the DSN that a board was given; the last one if it has had several."""
    given = (
        select(dsn)
        .where(dsn.c.board == board, dsn.c.state.in_((GIVEN, WRITTEN, LOCKED)))
        .order_by(_rank(dsn.c).desc(), dsn.c.dsn)
        .limit(1)
    )
    return _row_of(connection, given)


def next_blocked(connection: Connection, product: str, station_id: str) -> DsnRow | None:
    """Return the next number of a station's blocks; None if none is left."""
    left = (
        select(dsn)
        .where(dsn.c.product == product, dsn.c.station_id == station_id, dsn.c.state == BLOCKED)
        .order_by(dsn.c.dsn)
        .limit(1)
    )
    return _row_of(connection, left)


def _row_of(connection: Connection, wanted: Select[Any]) -> DsnRow | None:
    row = connection.execute(wanted).one_or_none()
    return None if row is None else DsnRow(*row)


def problem_of(
    row: DsnRow | None, rule: DsnRule, *, board: str = "", station_id: str = ""
) -> DsnProblem | None:
    """Return why a scanned DSN cannot be given to a unit; None if it can.

    Args:
        row: what the ledger has of it.
        rule: the form and the product that it must have.
        board: of the unit that it is for; empty if that is not known yet.
        station_id: this station.
    """
    if row is None:
        return DsnProblem.UNKNOWN
    if row.product != rule.product:
        return DsnProblem.FOREIGN
    if row.state == BURNT:
        return DsnProblem.BURNT
    is_of_this_unit = bool(board) and row.board == board
    is_moved = row.state == GIVEN and row.moves > 0 and not row.board
    if row.state in {GIVEN, WRITTEN, LOCKED} and not is_of_this_unit and not is_moved:
        return DsnProblem.LOCKED if row.state == LOCKED else DsnProblem.DOUBLE
    if row.state == BLOCKED and row.station_id != station_id:
        return DsnProblem.FOREIGN
    return None


def problem_of_form(number: str, rule: DsnRule) -> DsnProblem | None:
    """Return why a scanned text is no DSN at all, or not one of the product; None if it may be one."""
    if not ANY_DSN.fullmatch(number) or ("-" in number and not rule.may_have_hyphens):
        return DsnProblem.MALFORMED
    if not number.startswith(rule.prefix):
        return DsnProblem.FOREIGN
    return DsnProblem.MALFORMED if rule.has_check_digit and not has_check_digit(number) else None


def change(connection: Connection, row: DsnRow, state: str, board: str, entry: LedgerEntry) -> str:
    """Bring a DSN to a later state, on a board; return the key of the event."""
    connection.execute(
        update(dsn)
        .where(dsn.c.dsn == row.dsn)
        .values(state=state, board=board, run_uuid=entry.run_uuid or row.run_uuid)
    )
    return note(connection, row.dsn, state, board, entry)


def move(connection: Connection, row: DsnRow, entry: LedgerEntry) -> str:
    """Take a DSN from its board, which is scrapped, so that the next board can be given it; return the event's key.

    Raises:
        WrongUse: if no unit has it.
    """
    if row.state not in {GIVEN, WRITTEN, LOCKED} or not row.board:
        raise WrongUse(f"the DSN {row.dsn} is on no board: it is {row.state}", hint="Nothing was moved.")
    mark_scrapped(connection, row.board, entry.order_millis)
    connection.execute(
        update(dsn).where(dsn.c.dsn == row.dsn).values(state=GIVEN, board="", moves=dsn.c.moves + 1)
    )
    return note(connection, row.dsn, "moved", row.board, entry)


def note(connection: Connection, number: str, event: str, board: str, entry: LedgerEntry) -> str:
    """Add an event of a DSN; return its key."""
    key = str(uuid4())
    connection.execute(
        insert(identity_event),
        {"event_uuid": key, "dsn": number, "event": event, "board": board, **entry._asdict()},
    )
    return key


# ---------------------------------------------------------------------------------------------------------
# Two places that know of one number


def put_ahead(connection: Connection) -> Any:
    """Return an INSERT of DSNs that changes a row only if the new one is further: moved more often, or a later state.

    So the order in which rows are pushed does not matter, nor how often.
    """
    return insert_or_update(
        connection,
        dsn,
        lambda new: {name: new[name] for name in ("state", "station_id", "board", "run_uuid", "moves")},
        only_if=lambda new: or_(
            new.moves > dsn.c.moves, (new.moves == dsn.c.moves) & (_rank(new) > _rank(dsn.c))
        ),
    )


def _rank(row: Any) -> Any:
    """Return how far a row is; with a board it is further than without."""
    state = case({state: 2 * rank for rank, state in enumerate(DSN_STATES)}, value=row.state)
    return state + case((row.board != "", 1), else_=0)
