"""A station as a process that can be killed: runs and their DSNs, or DSNs alone, each told in a file before the next.

What stands in the file was acknowledged: the call that it is about had returned.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Final

from device_auth.core.errors import Busy
from device_auth.factory.station.records.databases import read_address
from device_auth.factory.station.records.ledger import NoDsnLeft
from device_auth.factory.station.records.spool import StationRecords
from device_auth.factory.station.run_record import (
    Attachment,
    DsnRule,
    Measurement,
    Product,
    RunPhase,
    RunRecord,
    RunStart,
)
from device_auth.factory.talk import RunOutcome

PRODUCT: Final = Product("speaker", "SP-1", "B")
TOLD: Final = "told"
EACH_WITHOUT_BOARD: Final = 2
"""Every second unit has nothing by which it could be recognised: if the station dies, its number is burnt."""


class ToldFile:
    """What this station has acknowledged, one line each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._fd = os.open(folder / TOLD, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(self, *words: str) -> None:
        os.write(self._fd, f"{' '.join(words)}\n".encode())


def read_told(folder: Path) -> list[list[str]]:
    path = folder / TOLD
    return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []


def phases(number: int) -> tuple[RunPhase, ...]:
    return tuple(
        RunPhase(
            name,
            RunOutcome.PASS,
            1000,
            2000,
            0.5 + number / 1000,
            measurements=tuple(Measurement(f"{name}-{each}", 1.5 * each, "s") for each in range(4)),
            attachments=(Attachment("talk", b"{}\n" * 20),),
        )
        for name in ("identity", "selftest", "link-test", "wipe", "lock")
    )


def run_units(records: StationRecords, told: ToldFile, boards: Iterator[str]) -> None:
    for number, board in enumerate(boards):
        start = records.begin(slot=str(number % 8), product=PRODUCT, batch="B7", operator="op")
        told.tell("begun", start.run_uuid)
        dsn = _take(records, start, board)
        if dsn is None:
            break
        told.tell("given", dsn, board, start.run_uuid)
        records.mark_written(dsn, start)
        records.save(
            RunRecord(
                start,
                dsn,
                board,
                3000,
                2.5,
                RunOutcome.PASS,
                unit={"eth_mac": "02:00"},
                phases=phases(number),
            )
        )
        told.tell("saved", start.run_uuid, board)


def take_numbers(records: StationRecords, told: ToldFile, boards: Iterator[str]) -> None:
    start = records.begin(slot="1", product=PRODUCT)
    for number, board in enumerate(boards):
        mark = "" if number % EACH_WITHOUT_BOARD == 0 else board
        dsn = _take(records, start, mark)
        if dsn is None:
            break
        told.tell("given", dsn, mark or "-", start.run_uuid)
        records.mark_written(dsn, start)
        told.tell("saved", dsn, board)


def _take(records: StationRecords, start: RunStart, board: str) -> str | None:
    """Take a number; return None once the ledger has none left. While the database is away, wait for it."""
    while True:
        try:
            return records.take_dsn(start, board)
        except NoDsnLeft as error:
            if "away" not in str(error):
                return None
        except Busy:
            pass
        Event().wait(0.2)


@contextmanager
def pushing(records: StationRecords) -> Iterator[None]:
    is_over = Event()

    def push() -> None:
        while not is_over.wait(0.1):
            records.push()

    thread = Thread(target=push)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def main(kind: str, folder: Path, url: str, count: int) -> None:
    told = ToldFile(folder)
    done = {words[2] for words in read_told(folder) if words[0] == "saved"}
    boards = (board for board in (f"{folder.name}-{number}" for number in range(count)) if board not in done)
    with StationRecords(folder, folder.name, DsnRule(PRODUCT.name), read_address(url)) as records:
        with pushing(records):
            (run_units if kind == "runs" else take_numbers)(records, told, boards)
        while records.waiting():
            records.push()
        told.tell("over")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
