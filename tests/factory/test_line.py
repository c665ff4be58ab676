"""Must show: units side by side, some of them broken, each with a record and the right outcome."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.factory.broken_unit import FAULTS
from tests.factory.line import EndedStation, add_dsns, ask_records, processes_of, run_factory, write_station
from tests.waiting import wait_for

EXPECTED: Final = {
    "hang": "TIMEOUT link-test: no answer in the time",
    "reboot": "ERROR link-test: the unit's talk cannot be read: it ends without a result",
    "wrong-dsn": "FAIL identity: the unit has the DSN 'OTHER001'",
    "dead-led": "FAIL selftest: ",
    "read-only": "ERROR identity: ",
    "garbage": "ERROR link-test: the unit's talk cannot be read",
    "leftover": "FAIL wipe: ",
    "no-network": "TIMEOUT link-test: ",
}


def run_line(folder: Path, slots: list[str], budget: float) -> EndedStation:
    station = write_station(folder, slots, budget=budget)
    add_dsns(station, 100)
    return run_factory("run", station)


def check_line(
    folder: Path, slots: list[str], ended: EndedStation, expected: Mapping[str, str] = EXPECTED
) -> None:
    """Assert that each unit has one record, with the right outcome and no secret in it."""
    runs = {event["slot"]: event for event in ended.events if event["event"] == "run"}
    assert ended.exit_code == 0, ended.errors
    assert sorted(runs) == sorted(slots)
    found = {slot: f"{event['outcome']} {event['outcome_details']}" for slot, event in runs.items()}
    wrong = {slot: told for slot, told in found.items() if not told.startswith(expected.get(slot, "PASS "))}
    assert wrong == {}

    recorded = dict(ask_records(folder, "select slot, outcome from run"))
    assert recorded == {slot: event["outcome"] for slot, event in runs.items()}
    given = [dsn for (dsn,) in ask_records(folder, "select dut_id from run")]
    assert len(set(given)) == len(slots)
    states = Counter(
        state for (state,) in ask_records(folder, "select state from dsn where state = 'locked'")
    )
    assert states["locked"] == sum(slot not in EXPECTED for slot in slots)

    talks = ask_records(
        folder, "select slot from attachment join run using (run_uuid) where name = 'talk.txt'"
    )
    assert {slot for (slot,) in talks} == {slot for slot in slots if slot in EXPECTED}
    kept = b"".join(path.read_bytes() for path in (folder / "station").glob("records.sqlite*"))
    for secret in (b"Sim|A|", b"Sim|R|"):
        assert secret not in kept
    # what removes the folders of a verb that was killed ends after it
    wait_for(lambda: not processes_of(folder), "a process is left")


@pytest.mark.factory
@pytest.mark.factory_quick
def test_eight_units_of_which_four_are_broken(tmp_path: Path) -> None:
    slots = ["good-1", "good-2", "good-3", "good-4", "reboot", "wrong-dsn", "garbage", "leftover"]

    ended = run_line(tmp_path, slots, budget=120)

    check_line(tmp_path, slots, ended)


@pytest.mark.factory
def test_a_station_that_is_killed_after_a_units_lock_learns_of_it_from_the_unit(tmp_path: Path) -> None:
    station = write_station(tmp_path, ["unforgotten"], steps=["identity", "wipe", "lock"])
    add_dsns(station, 3)

    killed = run_factory("run", station)
    state = ask_records(tmp_path, "select dsn, state from dsn where state <> 'blocked'")
    again = run_factory("run", station)

    assert (killed.exit_code, state) == (-9, [("KS000001", "written")])
    assert again.exit_code == 0, again.errors
    said = "reach: the unit has locked itself in an earlier run, as its status says"
    assert ask_records(
        tmp_path, "select dut_id, outcome, outcome_details from run order by order_millis"
    ) == [
        ("KS000001", "ABORTED", "the station ended during this run"),
        ("KS000001", "PASS", said),
    ]
    assert ask_records(tmp_path, "select dsn from dsn where state = 'locked'") == [("KS000001",)]
    assert ask_records(tmp_path, "select dsn, reason from identity_event where event = 'locked'") == [
        ("KS000001", "its own status says so: the result of its lock was lost")
    ]


@pytest.mark.factory
def test_thirty_two_units_of_which_eight_are_broken_in_eight_ways(tmp_path: Path) -> None:
    slots = [*FAULTS, *(f"good-{number:02}" for number in range(24))]

    ended = run_line(tmp_path, slots, budget=150)

    check_line(tmp_path, slots, ended)
