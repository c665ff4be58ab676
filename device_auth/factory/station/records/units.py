"""Units: what each read of itself, and what rpi-sb-provisioner knew of its board before; which two have what one alone may.

What was read from the unit stands; what the provisioner knew fills the gaps, never the other way round.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Text, case, cast, delete, func, null, or_, select, update

from device_auth.factory.station.records.databases import insert_or_update, insert_rows
from device_auth.factory.station.records.rows import Row, plain_text
from device_auth.factory.station.records.tables import PROVISIONED, measurement, run, unit
from device_auth.factory.station.run_record import UniqueValue

SHORT: Final = 8
"""Digits of the serial number that rpi-sb-provisioner has of some boards: the last ones of the board's own."""


def keep_units(connection: Connection, rows: Sequence[Row]) -> None:
    """Keep what units read of themselves, each if it is newer than what is known; what one could not read stays known."""
    newer = insert_or_update(
        connection,
        unit,
        lambda new: {
            "order_millis": new.order_millis,
            **{name: func.coalesce(new[name], unit.c[name]) for name in ("facts", *PROVISIONED)},
        },
        only_if=lambda new: new.order_millis >= unit.c.order_millis,
    )
    insert_rows(connection, newer, rows)
    _join_short(connection, [row["board"] for row in rows])


def keep_provisioned(connection: Connection, rows: Iterable[Row]) -> None:
    """Keep what rpi-sb-provisioner knows of boards, by their serial numbers; the same again changes nothing."""
    known = connection.execute(select(unit.c.board).where(func.length(unit.c.board) > SHORT)).scalars()
    whole = {board[-SHORT:]: board for board in known}
    filled = insert_or_update(
        connection,
        unit,
        lambda new: {
            name: case(
                (unit.c.order_millis == 0, func.coalesce(new[name], unit.c[name])),
                else_=func.coalesce(unit.c[name], new[name]),
            )
            for name in PROVISIONED
        },
    )
    for row in rows:
        board = row["board"]
        named = whole.get(board, board) if len(board) == SHORT else board
        connection.execute(filled, {**row, "board": named, "order_millis": 0})


def _join_short(connection: Connection, boards: Sequence[str]) -> None:
    """Join what the provisioner knew under a short serial number to the unit that has said its whole one."""
    whole = {board[-SHORT:]: board for board in boards if len(board) > SHORT}
    found = connection.execute(
        select(unit).where(unit.c.board.in_(whole), unit.c.order_millis == 0)
    ).mappings()
    for short in found.all():
        gaps: dict[str, Any] = {name: func.coalesce(unit.c[name], short[name]) for name in PROVISIONED}
        connection.execute(update(unit).where(unit.c.board == whole[short["board"]]).values(gaps))
        connection.execute(delete(unit).where(unit.c.board == short["board"]))


def mark_scrapped(connection: Connection, board: str, order_millis: int) -> None:
    """Mark a board as scrapped: its DSN is on another one."""
    marked = insert_or_update(connection, unit, lambda new: {"is_scrapped": new.is_scrapped})
    connection.execute(marked, {"board": board, "is_scrapped": True, "order_millis": order_millis})


def is_scrapped(connection: Connection, board: str) -> bool:
    """Return whether a board was marked as scrapped."""
    return bool(connection.execute(select(unit.c.is_scrapped).where(unit.c.board == board)).scalar())


def find_twin(connection: Connection, value: UniqueValue) -> str:
    """Return the DSN of another unit that said this value last; empty if none did. Golden units are left out."""
    wanted = json.dumps(plain_text(value.text))
    said = cast(measurement.c.other, Text)
    later, later_run = measurement.alias(), run.alias()
    # another card, or a card written anew: what such a unit said before is no longer so
    says_otherwise = (
        select(later.c.run_uuid)
        .join(later_run, later_run.c.run_uuid == later.c.run_uuid)
        .where(
            later_run.c.dut_id == run.c.dut_id,
            later_run.c.order_millis > run.c.order_millis,
            later.c.name == measurement.c.name,
            cast(later.c.other, Text) != wanted,
        )
    )
    found = (
        select(run.c.dut_id)
        .join(measurement, measurement.c.run_uuid == run.c.run_uuid)
        .where(
            measurement.c.name == plain_text(value.name),
            # the index has these alone
            measurement.c.other.is_not(null()),
            said == wanted,
            run.c.is_golden.is_(False),
            run.c.dut_id != value.dsn,
            or_(run.c.board != value.board, run.c.board == ""),
            ~says_otherwise.exists(),
        )
        .order_by(run.c.order_millis)
        .limit(1)
    )
    return connection.execute(found).scalar() or ""
