"""The verbs of the station's records, as a person types them."""

import csv
import io
import json
import sqlite3
from pathlib import Path

import pytest

from device_auth.cli.main import main
from device_auth.factory.station.records.spool import StationRecords
from device_auth.factory.station.run_record import DsnRule
from tests.factory.record_world import run_unit

STATION = """
[station]
id = "s1"
folder = "records"
operator = "anna"
{database}
[product]
name = "speaker"
part_number = "SP-1"
product_id = "SPEAKER"
client_id = "amzn1.application-oa2-client.51000000000000000000000000000005"
dsn = {{ prefix = "SP", check_digit = true }}
[[slot]]
name = "slot"
transport = "local"
"""


class StationVerbs:
    """A station's file, and the verbs on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.write()

    def write(self, database: str = "") -> None:
        (self.folder / "station.toml").write_text(STATION.format(database=database))

    def run(self, verb: str, *words: str, ends: int = 0) -> str:
        """Run a verb; return what it printed, or for a failure what it said."""
        first, *rest = verb.split()
        assert (
            main(["factory", first, *rest[:1], str(self.folder / "station.toml"), *rest[1:], *words]) == ends
        )
        told = self._capsys.readouterr()
        return told.out if ends == 0 else told.err

    def record(self, *boards: str) -> list[str]:
        with StationRecords(
            self.folder / "records", "s1", DsnRule("speaker", "SP", has_check_digit=True)
        ) as records:
            return [run_unit(records, board) for board in boards]


@pytest.fixture
def verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> StationVerbs:
    return StationVerbs(tmp_path, capsys)


def test_a_ledger_from_its_first_number_to_a_moved_one(verbs: StationVerbs) -> None:
    verbs.run("dsn add", "--first=1", "--count=3", "--block=2")
    numbers = [line.split("\t")[0] for line in verbs.run("dsn list").splitlines()]
    assert numbers[0] == "SP000001A"

    assert verbs.record("b1", "b2") == numbers[:2]
    verbs.run("dsn burn", numbers[2], "--reason", "label torn")
    verbs.run("dsn rework", numbers[0], "--reason", "new board")

    states = [line.split("\t")[:4] for line in verbs.run("dsn list").splitlines()]
    assert [each[1] for each in states] == ["given", "locked", "burnt"]
    told = [json.loads(line) for line in verbs.run("dsn show", numbers[0], "--json").splitlines()]
    assert [each["event"] for each in told[1:]] == ["given", "written", "locked", "moved"]
    assert (told[-1]["reason"], told[-1]["operator"], told[-1]["board"]) == ("new board", "anna", "b1")
    assert verbs.run("dsn list", "--state=burnt").split("\t")[0] == numbers[2]
    verbs.run("dsn check", numbers[0])
    assert "locked" in verbs.run("dsn check", numbers[1], ends=78)


@pytest.mark.parametrize(
    "words",
    [
        "dsn add --first=1 --count=2 --digits=-1",
        "dsn add --first=1 --count=2 --digits=1000000000",
        "dsn add",
        "dsn add --first=1",
        "dsn add --first=-1 --count=1",
        "dsn add --first=1 --count=0",
        "dsn add --first=1 --count=1000001",
        "dsn add --first=1 --count=1 --block=0",
        "dsn add --first=1 --count=1 --digits=60",
        "dsn list --state=lost",
        "dsn show",
        "dsn show SP1",
        "dsn burn SP000001A",
        "dsn burn --reason=x",
        "dsn rework SP1 --reason=x",
        "report --since=yesterday",
        "database adopt",
    ],
)
def test_what_is_asked_wrongly_changes_nothing(verbs: StationVerbs, words: str) -> None:
    verbs.run(words, ends=2)

    assert verbs.run("dsn list") == ""


@pytest.mark.parametrize(
    ("content", "ends"), [("SP000001A\nSP000001A\n", 2), ("SP000001B\n", 2), ("SP\xe4\n", 2), (None, 74)]
)
def test_a_list_with_a_wrong_number_adds_none(verbs: StationVerbs, content: str | None, ends: int) -> None:
    numbers = verbs.folder / "numbers.txt"
    if content is not None:
        numbers.write_text(content)

    verbs.run("dsn add", f"--from={numbers}", ends=ends)

    assert verbs.run("dsn list") == ""


def test_a_list_is_added_once(verbs: StationVerbs) -> None:
    numbers = verbs.folder / "numbers.txt"
    numbers.write_text("SP000001A\n\nSP0000028\n")

    verbs.run("dsn add", f"--from={numbers}")
    assert "already" in verbs.run("dsn add", f"--from={numbers}", ends=2)

    assert len(verbs.run("dsn list").splitlines()) == 2


def test_reports_and_exports_read_the_stations_own_records_or_those_of_all(verbs: StationVerbs) -> None:
    verbs.run("dsn add", "--first=1", "--count=3")
    verbs.record("b1", "b2")

    report = verbs.run("report")
    assert "runs: 2 PASS" in report
    assert "speaker SP-1 B B7: 2 units, 100.0 % passed at once, 100.0 % in the end, 0 retests" in report
    assert json.loads(verbs.run("report", "--json"))["yields"][0]["units"] == 2
    assert "runs: none" in verbs.run("report", "--since=2999-01-01")
    assert len(verbs.run("export").splitlines()) == 2
    assert len(list(csv.DictReader(io.StringIO(verbs.run("export", "--format=csv"))))) == 2
    assert len(list(csv.DictReader(io.StringIO(verbs.run("export", "--format=measurements"))))) == 40
    assert verbs.run("export", "--format=junit").count("<testsuite ") == 2

    verbs.write(f'database = "sqlite:///{verbs.folder}/all.sqlite"')
    assert "database upgrade" in verbs.run("report", ends=78)
    verbs.run("database upgrade")
    assert "runs: none" in verbs.run("report")
    assert "runs: 2 PASS" in verbs.run("report", "--here")


def test_the_statements_for_an_administrator_are_printed(verbs: StationVerbs) -> None:
    verbs.write('database = "postgresql://rig@127.0.0.1:9/factory"')

    assert "CREATE VIEW first_pass_yield" in verbs.run("database sql")


def test_a_database_that_is_away_is_told_and_no_password_shown(verbs: StationVerbs) -> None:
    (verbs.folder / "password").write_text("hunter2")
    (verbs.folder / "password").chmod(0o600)
    verbs.write('database = "postgresql://rig@127.0.0.1:9/factory"\ndatabase_password_file = "password"')

    assert "cannot reach the database 127.0.0.1" in verbs.run("report", ends=75)
    verbs.write('database = "postgresql://rig:hunter2@127.0.0.1:9/factory"')
    told = verbs.run("report", ends=78)
    assert "has a password in it" in told
    assert "hunter2" not in told


def test_boards_are_imported(verbs: StationVerbs) -> None:
    manufacturing = verbs.folder / "manufacturing.db"
    with sqlite3.connect(manufacturing) as connection:
        connection.execute("CREATE TABLE devices(id integer primary key, serial, boardname)")
        connection.execute("INSERT INTO devices(serial, boardname) VALUES ('1ccc4e15', 'CM5'), ('', 'CM5')")
    connection.close()
    places = [str(verbs.folder / "station.toml"), str(manufacturing)]

    assert main(["factory", "import", *places]) == 0
    assert main(["factory", "import", *places]) == 0
    assert main(["factory", "import", places[0], str(verbs.folder / "none.db")]) == 74

    with sqlite3.connect(verbs.folder / "records" / "records.sqlite") as connection:
        assert connection.execute("SELECT board, boardname FROM unit").fetchall() == [("1ccc4e15", "CM5")]
    connection.close()
