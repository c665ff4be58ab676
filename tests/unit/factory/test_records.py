import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import pytest

from device_auth.core.errors import ConfigError, StoreError
from device_auth.factory.station.records.databases import (
    explained,
    open_database,
    open_station_file,
    read_address,
    read_password,
    reading,
    writing,
)
from device_auth.factory.station.records.exports import (
    RUN_COLUMNS,
    junit_suite,
    measurement_columns,
    read_runs,
    run_columns,
)
from device_auth.factory.station.records.ledger import NoDsnLeft, add_block
from device_auth.factory.station.records.provisioned import read_provisioned
from device_auth.factory.station.records.spool import SPARE
from device_auth.factory.station.records.tables import dsn, identity_event, run, unit
from device_auth.factory.station.records.units import keep_provisioned
from device_auth.factory.station.run_record import (
    LARGEST_ATTACHMENT,
    Attachment,
    DsnProblem,
    DsnRefused,
    DsnRule,
    Measurement,
    RunPhase,
)
from device_auth.factory.talk import RunOutcome
from tests.factory.record_world import RecordWorld, begin, ended, run_unit
from tests.factory.station_process import PRODUCT, read_told
from tests.ports import free_port
from tests.waiting import wait_for

HOOK: Final = Path(__file__).parents[3] / "deploy/factory/post-flash.sh"


@pytest.fixture
def alone(tmp_path: Path) -> RecordWorld:
    """A station without a database of all stations."""
    world = RecordWorld(tmp_path, "")
    with world.station() as records, writing(records.file) as connection:
        add_block(connection, PRODUCT.name, [f"SP{number:04d}" for number in range(5)])
    return world


def test_a_run_that_was_cut_off_has_a_record_and_its_number_is_burnt_if_nothing_tells_its_unit(
    alone: RecordWorld,
) -> None:
    with alone.station() as records:
        bound, unbound = begin(records), begin(records)
        kept = records.take_dsn(bound, "b1")
        burnt = records.take_dsn(unbound, "")

    with alone.station() as records:
        cut_off = {row["run_uuid"]: row for row in alone.rows(run, records.file)}
        states = {row["dsn"]: row["state"] for row in alone.rows(dsn, records.file)}
        assert records.take_dsn(begin(records), "b1") == kept
    assert {row["outcome"] for row in cut_off.values()} == {"ABORTED"}
    assert cut_off[bound.run_uuid]["dut_id"] == kept
    assert (states[kept], states[burnt]) == ("given", "burnt")


def test_a_killed_process_leaves_a_record_of_its_run(alone: RecordWorld) -> None:
    folder = alone.folder / "s1"
    words = "import sys; from tests.factory.killed import begin_and_wait; begin_and_wait(sys.argv[1])"
    with subprocess.Popen([sys.executable, "-c", words, str(folder)]) as station:
        wait_for(lambda: read_told(folder), "the run to begin")
        station.send_signal(signal.SIGKILL)
        station.wait()

    with alone.station() as records:
        (row,) = alone.rows(run, records.file)
    assert [row["run_uuid"], row["outcome"]] == [read_told(folder)[0][1], "ABORTED"]


def test_the_same_record_again_changes_nothing(alone: RecordWorld) -> None:
    with alone.station() as records:
        start = begin(records)
        number = records.take_dsn(start, "b1")
        records.save(ended(start, number))
        records.save(ended(start, number, outcome=RunOutcome.FAIL))

        (row,) = alone.rows(run, records.file)
    assert row["outcome"] == "PASS"


def test_a_disk_that_is_nearly_full_takes_no_new_run_but_those_under_way(alone: RecordWorld) -> None:
    with alone.station() as records:
        start = begin(records)
    with alone.station(spare=2**62) as records:
        with pytest.raises(StoreError, match="no new run: the disk of") as refused:
            begin(records)
        records.save(ended(start, "SP0000"))
    assert refused.value.exit_code == 74
    assert SPARE > 1000 * LARGEST_ATTACHMENT / 2


def test_a_full_disk_is_told_in_words(alone: RecordWorld) -> None:
    with alone.station() as records:
        start = begin(records)
        with records.file.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1")
            connection.commit()
            steps = tuple(
                RunPhase(
                    "wipe", RunOutcome.FAIL, 1, 2, 1.0, attachments=(Attachment("talk", os.urandom(60_000)),)
                )
                for _ in range(20)
            )
        with pytest.raises(StoreError, match="the disk is full"):
            records.save(ended(start, "SP0000", steps=steps))
        (row,) = alone.rows(run, records.file)
    assert row["outcome"] is None


def test_a_file_that_is_no_database_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "s1").mkdir(mode=0o700)
    (tmp_path / "s1" / "records.sqlite").write_text("this is no database" * 100)

    with pytest.raises(StoreError, match="not a database"), RecordWorld(tmp_path, "").station("s1"):
        pass


def test_while_the_database_is_away_runs_go_on_as_long_as_there_are_numbers(tmp_path: Path) -> None:
    away = read_address(f"postgresql://rig@127.0.0.1:{free_port()}/factory")
    world = RecordWorld(tmp_path, "")
    with world.station() as records, writing(records.file) as connection:
        add_block(connection, PRODUCT.name, ["SP0000"])
        connection.execute(dsn.update().values(state="blocked", station_id="s1"))

    with world.station(address=away, answer_time=0.1) as records:
        assert run_unit(records, "b1") == "SP0000"
        assert records.push() > 0
        assert records.check_dsn("SP0001") is DsnProblem.UNCLEAR
        with pytest.raises(NoDsnLeft, match="the database is away") as refused:
            records.take_dsn(begin(records), "b2")
        with pytest.raises(DsnRefused, match="does not answer"):
            records.take_dsn(begin(records), "b2", scanned="SP0001")
    assert refused.value.exit_code == 75


def test_a_push_that_cannot_read_the_stations_disk_raises_nothing(alone: RecordWorld) -> None:
    with alone.station() as records:
        with writing(records.file) as connection:
            connection.exec_driver_sql("ALTER TABLE outbox RENAME TO away")

        assert records.push() == 0


@pytest.mark.parametrize(
    ("scanned", "problem"),
    [
        ("AB00017", DsnProblem.FOREIGN),
        ("SP_0001A", DsnProblem.MALFORMED),
        ("SP-0001A", DsnProblem.MALFORMED),
        ("", DsnProblem.MALFORMED),
        ("SP0001" * 9, DsnProblem.MALFORMED),
        ("SP00\n01", DsnProblem.MALFORMED),
    ],
)
def test_what_cannot_be_a_dsn_is_told_without_a_look_at_the_ledger(
    alone: RecordWorld, scanned: str, problem: DsnProblem
) -> None:
    with alone.station(rule=DsnRule(PRODUCT.name, "SP", has_check_digit=True)) as records:
        assert records.check_dsn(scanned) is problem


def test_what_a_unit_says_of_itself_can_be_kept_whatever_it_is(alone: RecordWorld) -> None:
    odd: dict[str, str | None] = {"eth_mac": "a\0b\udc80" * 5000, "wifi_mac": None}
    measured = (
        Measurement("nan", float("nan")),
        Measurement("huge", 10**400),
        Measurement("text", "\0" + "x" * 9000),
        Measurement("flag", value=True),
        Measurement("none", None),
    )
    step = RunPhase(
        "selftest",
        RunOutcome.ERROR,
        -1,
        2,
        0.0,
        exit_code=10**12,
        details="\0\udcff",
        measurements=measured,
        attachments=(Attachment("talk", b"\0\xff" * LARGEST_ATTACHMENT),),
    )
    with alone.station() as records:
        records.save(ended(begin(records), "SP\0", "b\0", unit=odd, steps=(step,)))
        (record,) = read_runs(records.file)

    text = json.dumps(record, allow_nan=False)
    assert "\\u0000" not in text
    values = [each["measured_value"] for each in record["phases"][0]["measurements"]]
    assert values[0] == "nan"
    assert values[3:] == [True, None]
    assert record["phases"][0]["exit_code"] is None


def test_a_run_is_exported_with_columns_that_stay_and_no_formula(alone: RecordWorld) -> None:
    with alone.station() as records:
        start = begin(records)
        number = records.take_dsn(start, "b1")
        steps = (
            RunPhase(
                "wipe",
                RunOutcome.FAIL,
                1,
                2,
                1.5,
                details="left <over> \x01",
                measurements=(Measurement("m", 1.5, "s"),),
            ),
        )
        records.save(ended(start, number, "=cmd()", RunOutcome.FAIL, steps=steps))
        (record,) = read_runs(records.file)
        assert list(read_runs(records.file, since=start.order_millis + 1)) == []
        assert list(read_runs(records.file, run_uuid="other")) == []

    written = io.StringIO()
    csv.writer(written).writerow(run_columns(record))
    (row,) = csv.DictReader(io.StringIO(written.getvalue()), RUN_COLUMNS)
    assert (row["dut_id"], row["board"], row["outcome"]) == (number, "'=cmd()", "FAIL")
    assert (row["batch"], row["is_golden"]) == ("B7", "false")
    (measured,) = measurement_columns(record)
    assert measured[3:] == ["wipe", "1", "m", "1.5", "s", "PASS", "", ""]
    suite = ET.fromstring(junit_suite(record))  # noqa: S314  our own
    assert suite.attrib["failures"] == "2"
    assert [case.attrib["name"] for case in suite] == ["wipe", "run"]
    assert suite[0][0].attrib == {"type": "FAIL", "message": "left <over> \N{REPLACEMENT CHARACTER}"}


# ---------------------------------------------------------------------------------------------------------
# The password


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://rig:hunter2@db/factory",
        "postgresql://rig@db/factory?password=hunter2",
        "postgresql://rig@db/factory?sslpassword=hunter2",
        "mysql://rig@db/factory",
        "hunter2",
    ],
)
def test_an_address_with_a_password_or_of_another_kind_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_address(address)

    assert "hunter2" not in f"{refused.value} {refused.value.hint}"
    assert refused.value.exit_code == 78


@pytest.mark.parametrize(
    ("content", "mode"), [("hunter2\n", 0o640), ("\n", 0o600), ("\udcff", 0o600), (None, 0o600)]
)
def test_a_password_that_others_may_read_or_that_is_none_is_refused(
    tmp_path: Path, content: str | None, mode: int
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content.encode(errors="surrogateescape"))
        file.chmod(mode)

    with pytest.raises(ConfigError, match=str(file)) as refused:
        read_password(file)
    assert "hunter2" not in str(refused.value)


def test_a_password_stands_in_no_error_and_no_address(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\nsecond line")
    file.chmod(0o600)
    engine = open_database(read_address(f"postgresql://rig@127.0.0.1:{free_port()}/factory", file))

    with (
        pytest.raises(Exception, match="cannot reach the database") as away,
        explained(engine),
        reading(engine),
    ):
        pass

    told = [str(away.value), repr(away.value.__cause__), repr(engine), str(engine.url)]
    assert not any("hunter2" in each for each in told)
    engine.dispose()


# ---------------------------------------------------------------------------------------------------------
# What rpi-sb-provisioner knows


@pytest.fixture
def manufacturing(tmp_path: Path) -> Path:
    path = tmp_path / "manufacturing.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=wal")
        connection.execute(
            "CREATE TABLE devices(id integer primary key, boardname, serial, eth_mac, wifi_mac, bt_mac, mmc_size,"
            " mmc_cid, rpi_duid, board_revision, processor, memory, manufacturer, secure, jtag_locked,"
            " eeprom_write_protected, os_image_filename, os_image_sha256, customer_key_fingerprint, provision_ts)"
        )
        for row in (
            (
                "CM5",
                "1CCC4E15",
                "2c:cf:67:00:00:01",
                "",
                "",
                1,
                "cid",
                "duid",
                "1.0",
                "BCM2712",
                "4GB",
                "Sony UK",
                0,
                1,
            ),
            (
                "Unsupported Board: 0x0",
                "1ccc4e16",
                "00:00:00:00:00:00",
                "ff:ff:ff:ff:ff:ff",
                "",
                0,
                "",
                "0" * 32,
                "",
                "Unknown: ",
                "",
                "",
                0,
                None,
            ),
            ("CM5", "00000000", "", "", "", 1, "", "", "", "", "", "", 0, None),
        ):
            connection.execute(
                "INSERT INTO devices(boardname, serial, eth_mac, wifi_mac, bt_mac, mmc_size, mmc_cid, rpi_duid,"
                " board_revision, processor, memory, manufacturer, secure, jtag_locked)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
    connection.close()
    return path


def test_what_the_provisioner_made_up_is_not_known(manufacturing: Path) -> None:
    found = read_provisioned(manufacturing)

    assert found.left_out == 1
    known = [{name: value for name, value in row.items() if value is not None} for row in found.rows]
    assert known[0]["board"] == "1ccc4e15"
    assert known[0]["secure"] == "0"
    assert known[0]["eth_mac"] == "2c:cf:67:00:00:01"
    assert known[1] == {"board": "1ccc4e16", "secure": "0"}


def test_what_a_unit_read_of_itself_stands_and_the_provisioner_fills_the_gaps(
    alone: RecordWorld, manufacturing: Path
) -> None:
    rows = read_provisioned(manufacturing).rows
    with alone.station() as records:
        with writing(records.file) as connection:
            keep_provisioned(connection, rows)
        start = begin(records)
        whole = "100000001ccc4e15"
        records.save(
            ended(start, records.take_dsn(start, whole), whole, unit={"eth_mac": "02:00:00:00:00:09"})
        )
        with writing(records.file) as connection:
            keep_provisioned(connection, rows)

        units = {row["board"]: row for row in alone.rows(unit, records.file)}
    assert set(units) == {whole, "1ccc4e16"}
    assert (units[whole]["eth_mac"], units[whole]["boardname"]) == ("02:00:00:00:00:09", "CM5")


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"x" * 5000, b"no board at all", None])
def test_what_is_not_of_the_provisioner_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other"
    if content is not None:
        path.write_bytes(content)

    if content == b"no board at all":
        assert read_provisioned(path) == ([], 1)
    else:
        with pytest.raises(StoreError, match="cannot read"):
            read_provisioned(path)


def test_the_hook_keeps_what_the_provisioner_passes_one_file_a_board(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "DEVICE_AUTH_PROVISIONED": str(tmp_path / "kept"),
        "SERIAL": "1ccc4e15",
        "BOARDNAME": "CM5\n$(touch x) `touch x` ' \"",
        "ETH_MAC": "2c:cf:67:00:00:01",
        "JTAG_LOCKED": "",
        "OS_IMAGE_SHA256": "ab" * 32,
    }

    subprocess.run([HOOK, "usb:1-1", "1ccc4e15", "mmcblk0"], env=environment, cwd=tmp_path, check=True)
    found = read_provisioned(tmp_path / "kept")

    (row,) = found.rows
    assert (row["board"], row["eth_mac"], row["jtag_locked"]) == ("1ccc4e15", "2c:cf:67:00:00:01", None)
    assert row["boardname"] == "CM5$(touch x) `touch x` ' \""
    assert not (tmp_path / "x").exists()


def test_the_hook_does_not_stop_the_line_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {"PATH": os.environ["PATH"], "DEVICE_AUTH_PROVISIONED": str(tmp_path / "file" / "kept")}

    ran = subprocess.run(
        [HOOK, "usb:1-1", "1ccc4e15"], env=environment, check=True, capture_output=True, text=True
    )

    assert "cannot keep what is known of the board 1ccc4e15" in ran.stderr


def test_events_tell_what_became_of_a_number(alone: RecordWorld) -> None:
    with alone.station() as records:
        start = begin(records)
        number = records.take_dsn(start, "b1")
        records.mark_written(number, start)
        records.mark_written(number, start)
        records.mark_burnt(number, start, "the label is torn")
        events = sorted(alone.rows(identity_event, records.file), key=lambda row: row["order_millis"])

    assert [(row["event"], row["reason"]) for row in events] == [
        ("given", ""),
        ("written", ""),
        ("burnt", "the label is torn"),
    ]


def test_a_station_file_is_closed_to_others(alone: RecordWorld) -> None:
    assert (alone.folder / "s1").stat().st_mode & 0o777 == 0o700
    engine = open_station_file(alone.folder / "s1")
    with reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()
