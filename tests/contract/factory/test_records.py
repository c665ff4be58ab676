from dataclasses import replace
from itertools import permutations

import pytest
from sqlalchemy import insert

from device_auth.core.errors import Busy, ConfigError, WrongUse
from device_auth.factory.station.records import ledger
from device_auth.factory.station.records.by_hand import LedgerByHand
from device_auth.factory.station.records.databases import reading, writing
from device_auth.factory.station.records.ledger import LedgerEntry, NoDsnLeft
from device_auth.factory.station.records.reports import read_report
from device_auth.factory.station.records.spool import StationRecords
from device_auth.factory.station.records.tables import (
    attachment,
    dsn,
    identity_event,
    measurement,
    outbox,
    phase,
    run,
    unit,
)
from device_auth.factory.station.run_record import (
    DsnProblem,
    DsnRefused,
    DsnRule,
    Measurement,
    RunPhase,
    RunStart,
    UniqueValue,
)
from device_auth.factory.talk import RunOutcome
from tests.factory.record_world import NUMBERS, RULE, RecordWorld, begin, ended, run_unit

PARTS = (run, phase, measurement, attachment, identity_event)


def by_hand(world: RecordWorld, station: str = "s1", reason: str = "repaired") -> LedgerByHand:
    assert world.database is not None
    return LedgerByHand(
        world.database, is_shared=True, entry=LedgerEntry(station, "anna", 9, 9, reason=reason)
    )


def state_of(world: RecordWorld, number: str) -> str:
    return next(str(row["state"]) for row in world.rows(dsn) if row["dsn"] == number)


def test_what_a_station_recorded_is_in_the_database_of_all_stations(world: RecordWorld) -> None:
    with world.station() as records:
        number = run_unit(records, "b1")

        assert records.push() == 0
        for table in PARTS:
            assert world.rows(table) == world.rows(table, records.file)
    assert [world.count(table) for table in PARTS] == [1, 5, 20, 5, 3]
    assert state_of(world, number) == "locked"


def test_what_is_pushed_again_changes_nothing(world: RecordWorld) -> None:
    with world.station() as records:
        run_unit(records, "b1")
        with reading(records.file) as connection:
            entries = [dict(row) for row in connection.execute(outbox.select()).mappings()]
        records.push()
        before = [world.rows(table) for table in (*PARTS, dsn, unit)]
        # killed between the database's commit and its own
        with writing(records.file) as connection:
            connection.execute(insert(outbox), entries)

        assert records.push() == 0
        assert [world.rows(table) for table in (*PARTS, dsn, unit)] == before


def test_a_run_that_the_database_refuses_holds_nothing_else_back(world: RecordWorld) -> None:
    assert world.database is not None
    with world.station() as records:
        records.push()
        for board in ("b1", "b2", "b3"):
            run_unit(records, board)
        with writing(records.file) as connection:
            second = world.rows(run, records.file)[1]["run_uuid"]
            # no text of PostgreSQL holds it; of SQLite any does
            connection.exec_driver_sql("UPDATE phase SET details = char(0) WHERE run_uuid = ?", (second,))

        left = records.push()

        there = {row["run_uuid"] for row in world.rows(run)}
        if world.database.dialect.name == "postgresql":
            assert left == 1
            assert len(there) == 2
        else:
            assert len(there) == 3


def test_the_order_in_which_the_states_of_a_dsn_arrive_does_not_matter(world: RecordWorld) -> None:
    assert world.database is not None
    first = world.rows(dsn)[0]
    steps = [
        first | {"state": "blocked", "station_id": "s1"},
        first | {"state": "given", "station_id": "s1", "board": "b1"},
        first | {"state": "locked", "station_id": "s1", "board": "b1"},
        first | {"state": "given", "station_id": "s1", "board": "", "moves": 1},
        first | {"state": "given", "station_id": "s1", "board": "b2", "moves": 1},
    ]
    for order in permutations(steps):
        with writing(world.database) as connection:
            connection.execute(
                dsn.update().values(
                    **{name: first[name] for name in ("state", "station_id", "board", "moves")}
                )
            )
            for row in order:
                connection.execute(ledger.put_ahead(connection), row)

        assert world.rows(dsn)[0] == steps[-1]


def test_two_stations_get_different_blocks(world: RecordWorld) -> None:
    with world.station("s1") as one, world.station("s2") as two:
        taken = [
            run_unit(records, f"{turn}-{records.folder.name}") for turn in range(3) for records in (one, two)
        ]

    assert taken == ["SP0000", "SP0060", "SP0001", "SP0061", "SP0002", "SP0062"]


def test_a_unit_that_comes_to_another_station_keeps_its_dsn(world: RecordWorld) -> None:
    with world.station("s1") as records:
        number = run_unit(records, "b1", RunOutcome.FAIL)
        records.push()

    with world.station("s2") as records:
        assert run_unit(records, "b1") == number
        records.push()
    assert state_of(world, number) == "locked"
    assert [row["number"] for row in numbered(world)] == [1, 2]


def numbered(world: RecordWorld) -> list[dict[str, object]]:
    assert world.database is not None
    with reading(world.database) as connection:
        found = connection.exec_driver_sql(
            "SELECT number, outcome, runs, last_outcome FROM numbered_run ORDER BY number"
        )
        return [dict(row) for row in found.mappings()]


def test_the_first_pass_counts_the_first_run_alone_and_a_clock_that_goes_back_changes_nothing(
    world: RecordWorld,
) -> None:
    assert world.database is not None
    with world.station() as records:
        run_unit(records, "b1", RunOutcome.FAIL)
        world.wall -= 86_400
        run_unit(records, "b1")
        run_unit(records, "b2")
        run_unit(records, "golden", RunOutcome.FAIL, is_golden=True)
        records.save(ended(begin(records), "SP0019", "b4", RunOutcome.ABORTED))
        # the station was in no order, and the unit then passed at once
        records.save(replace(ended(begin(records), "SP0003", "b5", RunOutcome.ERROR), is_judged=False))
        assert run_unit(records, "b5") == "SP0003"
        records.push()

    report = read_report(world.database)

    made = report["yields"][0]
    assert (made["units"], made["passed_first"], made["passed_last"], made["retests"]) == (3, 2, 3, 1)
    assert report["outcomes"] == [
        {"outcome": "ABORTED", "runs": 1},
        {"outcome": "ERROR", "runs": 1},
        {"outcome": "FAIL", "runs": 1},
        {"outcome": "PASS", "runs": 3},
    ]
    assert [row["name"] for row in report["steps"]] == ["identity", "link-test", "lock", "selftest", "wipe"]
    assert {row["attempts"] for row in report["steps"]} == {6}


@pytest.mark.parametrize("since", [0, 1])
def test_the_95th_percentile_is_the_smallest_time_that_19_of_20_attempts_did_not_exceed(
    world: RecordWorld, since: int
) -> None:
    assert world.database is not None
    with world.station() as records:
        start = begin(records)
        number = records.take_dsn(start, "b1")
        step = ended(start, number).phases[0]
        many = tuple(replace(step, seconds=float(each), attempt=each) for each in range(1, 41))
        records.save(ended(start, number, steps=many))
        records.push()

    (row,) = read_report(world.database, since)["steps"]

    assert (row["attempts"], row["p50"], row["p95"], row["longest"]) == (40, 20.0, 38.0, 40.0)


def test_a_scanned_dsn_is_checked_against_the_ledger(world: RecordWorld) -> None:
    with world.station("s2") as other:
        elsewhere = run_unit(other, "b9")
        other.push()
    with world.station("s1") as records:
        locked = run_unit(records, "b1")
        failed = run_unit(records, "b2", RunOutcome.FAIL)
        without_board = records.take_dsn(begin(records), "")

        assert records.check_dsn("SP0239") is None
        assert records.check_dsn(locked) is DsnProblem.LOCKED
        assert records.check_dsn(elsewhere) is DsnProblem.LOCKED
        assert records.check_dsn(without_board) is DsnProblem.DOUBLE
        # it may come back; whether it is that unit its board tells
        assert records.check_dsn(failed) is None
        assert records.take_dsn(begin(records), "b2", scanned=failed) == failed
        assert records.check_dsn("SP9999") is DsnProblem.UNKNOWN
        assert records.check_dsn("SP 1") is DsnProblem.MALFORMED
        with pytest.raises(DsnRefused) as refused:
            records.take_dsn(begin(records), "b3", scanned=failed)
        assert refused.value.problem is DsnProblem.DOUBLE
        with pytest.raises(DsnRefused, match="was given"):
            records.take_dsn(begin(records), "b1", scanned="SP0239")


def test_a_scanned_dsn_of_a_block_that_no_station_has_is_taken_with_its_block(world: RecordWorld) -> None:
    with world.station("s1") as records:
        assert records.take_dsn(begin(records), "b1", scanned="SP0130") == "SP0130"
        records.push()
    with world.station("s2") as other:
        assert other.check_dsn("SP0131") is DsnProblem.FOREIGN


def test_a_moved_dsn_goes_to_the_board_whose_label_has_it_and_the_old_board_is_refused(
    world: RecordWorld,
) -> None:
    with world.station() as records:
        number = run_unit(records, "b1")
        records.push()
        by_hand(world).move(number)
        records.push()

        with pytest.raises(DsnRefused, match="scrapped"):
            records.take_dsn(begin(records), "b1")
        start = begin(records)
        assert records.take_dsn(start, "b2", scanned=number) == number
        records.mark_written(number, start)
        with pytest.raises(DsnRefused):
            records.take_dsn(begin(records), "b3", scanned=number)
        records.push()
    assert [row["board"] for row in world.rows(dsn) if row["dsn"] == number] == ["b2"]
    assert {row["board"]: bool(row["is_scrapped"]) for row in world.rows(unit)} == {"b1": True}
    moved = [row for row in world.rows(identity_event) if row["event"] == "moved"]
    assert [(row["dsn"], row["board"], row["reason"], row["operator"]) for row in moved] == [
        (number, "b1", "repaired", "anna")
    ]


def test_a_lock_that_a_unit_says_again_is_noted_with_how_it_became_known(world: RecordWorld) -> None:
    with world.station("s1") as one:
        first = begin(one)
        number = one.take_dsn(first, "b1")
        one.mark_written(number, first)
        one.save(ended(first, number, outcome=RunOutcome.ERROR))
        one.push()
    with world.station("s2") as two:
        again = begin(two)
        assert two.recognise_locked("SP0001", first.run_uuid, again) is None
        assert two.recognise_locked("SP9999", first.run_uuid, again) is None
        assert two.recognise_locked(number, first.run_uuid, again) == "b1"
        assert two.recognise_locked(number, first.run_uuid, again) is None
        two.save(ended(again, number))
        two.push()

    assert state_of(world, number) == "locked"
    (event,) = [row for row in world.rows(identity_event) if row["event"] == "locked"]
    assert (event["dsn"], event["board"], event["run_uuid"]) == (number, "b1", again.run_uuid)
    assert event["reason"] == "its own status says so: the result of its lock was lost"


def test_a_lock_of_an_older_run_or_of_a_board_that_was_replaced_is_not_that_of_the_last_run(
    world: RecordWorld,
) -> None:
    with world.station() as records:
        first, retest, moved = (begin(records) for _ in range(3))
        number = records.take_dsn(first, "b1")
        records.mark_written(number, first)
        assert records.take_dsn(retest, "b1") == number
        assert records.recognise_locked(number, first.run_uuid, begin(records)) is None
        records.push()
        by_hand(world).move(number)
        records.push()
        assert records.take_dsn(moved, "b2", scanned=number) == number
        records.mark_written(number, moved)

        assert records.recognise_locked(number, retest.run_uuid, begin(records)) is None
        assert records.recognise_locked(number, moved.run_uuid, begin(records)) == "b2"


def test_what_a_person_burns_is_never_given(world: RecordWorld) -> None:
    with world.station() as records:
        run_unit(records, "b1")
        records.push()
        by_hand(world).burn("SP0001")
        records.push()

        assert run_unit(records, "b2") == "SP0002"
    with pytest.raises(WrongUse, match="already"):
        by_hand(world).burn("SP0001")


def test_of_two_folders_with_one_stations_name_the_second_gives_no_dsn(world: RecordWorld) -> None:
    with world.station("s1") as records:
        run_unit(records, "b1")
        records.push()
    world.copy("s1", "copied")
    with world.station("s1") as records:
        run_unit(records, "b2")
        assert records.push() == 0

    with world.station(folder="copied", station_id="s1") as copied:
        assert copied.all_stations is not None
        run_unit(copied, "b3")
        with pytest.raises(ConfigError, match="another folder is the station s1"):
            copied.all_stations.push()
        assert copied.push() > 0
    with (
        world.station(folder="new", station_id="s1") as new,
        pytest.raises(ConfigError, match="another folder"),
    ):
        new.take_dsn(begin(new), "b4")


def test_a_new_folder_takes_over_a_lost_one_and_what_that_could_give_is_burnt(world: RecordWorld) -> None:
    with world.station("s1") as records:
        kept = run_unit(records, "b1")
        records.push()

    burnt = by_hand(world, reason="disk died").adopt()

    assert burnt == [number for number in NUMBERS[:60] if number != kept]
    with world.station(folder="new", station_id="s1") as records:
        assert run_unit(records, "b2") == "SP0060"
        assert run_unit(records, "b1") == kept
    with world.station("s1") as old, pytest.raises(ConfigError, match="another folder"):
        old.all_stations.push()  # type: ignore[union-attr]  # it has one


def test_a_lost_folder_that_still_runs_gets_no_further_block(world: RecordWorld) -> None:
    with world.station("s1") as old:
        run_unit(old, "b1")
        old.push()
        by_hand(world, reason="thought lost").adopt()
        with world.station(folder="new", station_id="s1") as new:
            assert run_unit(new, "b2") == "SP0060"

        assert old.all_stations is not None
        with pytest.raises(ConfigError, match="another folder is the station s1 by now"):
            old.all_stations.fetch(product=RULE.product)
        run_unit(old, "b3")
        assert old.push() > 0
    assert {row["station_id"] for row in world.rows(run)} == {"s1"}
    assert [row["board"] for row in world.rows(run)] == ["b1"]


def test_what_an_older_run_read_of_a_unit_does_not_replace_what_a_newer_one_read(world: RecordWorld) -> None:
    with world.station("s1") as one, world.station("s2") as two:
        number = run_unit(one, "b1", RunOutcome.FAIL)
        one.push()
        world.wall += 60
        start = begin(two)
        assert two.take_dsn(start, "b1") == number
        two.save(ended(start, number, unit={"eth_mac": "02:00:00:00:00:02", "wifi_mac": None}))
        two.push()
        world.wall -= 30
        one.save(ended(begin(one), number))
        one.push()

    assert [row["eth_mac"] for row in world.rows(unit)] == ["02:00:00:00:00:02"]


def test_one_folder_is_open_in_one_process_and_belongs_to_one_station(world: RecordWorld) -> None:
    with world.station("s1"), pytest.raises(Busy, match="another process"), world.station("s1"):
        pass
    with (
        pytest.raises(ConfigError, match="those of the station s1"),
        world.station(folder="s1", station_id="s2"),
    ):
        pass


def twin_of(records: StationRecords, start: RunStart, dsn: str, board: str, text: str) -> str:
    return records.find_twin(start, UniqueValue(dsn, board, "image-machine-id", text))


def save_with(records: StationRecords, dsn: str, board: str, text: str, *, is_golden: bool = False) -> None:
    """Save a run whose unit has said a text."""
    said = Measurement("image-machine-id", text, "SHA-256")
    selftest = RunPhase("selftest", RunOutcome.PASS, 0, 1, 0.001, measurements=(said,))
    records.save(ended(begin(records, is_golden=is_golden), dsn, board, steps=(selftest,)))


def test_the_twin_of_a_unit_is_found_at_this_station_and_at_another(world: RecordWorld) -> None:
    with world.station("s1") as one, world.station("s2") as two:
        save_with(one, "SP0001", "b1", "é'ab")
        one.push()
        two.push()

        for records in (one, two):
            start = begin(records)
            assert twin_of(records, start, "SP0002", "b2", "é'ab") == "SP0001"
            assert twin_of(records, start, "SP0002", "b2", "cd") == ""
            # a retest, and a unit that got another DSN or another board
            assert twin_of(records, start, "SP0001", "b1", "é'ab") == ""
            assert twin_of(records, start, "SP0003", "b1", "é'ab") == ""
            assert twin_of(records, start, "SP0001", "b3", "é'ab") == ""


def test_a_unit_that_says_something_else_now_is_no_twin_any_more(world: RecordWorld) -> None:
    with world.station("s1") as records:
        save_with(records, "SP0001", "b1", "ab")
        save_with(records, "SP0002", "b2", "ab")
        save_with(records, "SP0002", "b2", "cd")
        start = begin(records)

        assert twin_of(records, start, "SP0001", "b1", "ab") == ""
        save_with(records, "SP0002", "b2", "ab")
        assert twin_of(records, start, "SP0001", "b1", "ab") == "SP0002"


def test_a_golden_unit_is_nobodys_twin(world: RecordWorld) -> None:
    with world.station("s1") as records:
        save_with(records, "GOLDEN1", "b1", "ab", is_golden=True)

        assert twin_of(records, begin(records), "SP0002", "b2", "ab") == ""


def test_of_two_clones_that_are_tested_at_once_the_second_has_a_twin(world: RecordWorld) -> None:
    with world.station("s1") as records:
        first, second = begin(records), begin(records)

        assert twin_of(records, first, "SP0001", "b1", "ab") == ""
        assert twin_of(records, first, "SP0001", "b1", "ab") == ""
        assert twin_of(records, second, "SP0002", "b2", "ab") == "SP0001"
        # its record has not got as far
        records.save(ended(first, "SP0001", "b1", RunOutcome.ABORTED, steps=()))
        records.save(ended(second, "SP0002", "b2", RunOutcome.FAIL, steps=()))
        assert twin_of(records, begin(records), "SP0003", "b3", "ab") == ""


def test_a_dsn_of_another_product_is_foreign(world: RecordWorld) -> None:
    with world.station(rule=DsnRule("other")) as records:
        assert records.check_dsn("SP0001") is DsnProblem.FOREIGN
        with pytest.raises(NoDsnLeft):
            records.take_dsn(begin(records), "b1")
