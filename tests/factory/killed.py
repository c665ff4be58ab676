"""A station that begins a run, tells so, and waits to be killed."""

from pathlib import Path
from threading import Event

from device_auth.factory.station.records.spool import StationRecords
from tests.factory.record_world import RULE, begin
from tests.factory.station_process import ToldFile


def begin_and_wait(folder: str) -> None:
    with StationRecords(Path(folder), "s1", RULE) as records:
        ToldFile(Path(folder)).tell("begun", begin(records).run_uuid)
        Event().wait()
