import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TextIO

import pytest

from device_auth.core.models import UnixTime, View
from device_auth.core.states import CHECKING, TROUBLES, StateWord, Trouble
from device_auth.service.journal import JournalLog, open_log
from tests.links import StillClock

ours = logging.getLogger("device_auth.somewhere")

LINKED = View(StateWord.LINKED, Trouble.NONE)
OFFLINE = View(StateWord.LINKED, Trouble.NO_NETWORK)


class Clock(StillClock):
    def pass_time(self, seconds: float) -> None:
        self.monotonic += seconds
        self.unix += seconds


class Journal:
    """The journal's end of its socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.end.bind(str(path))
        self.end.setblocking(False)

    def received(self) -> list[dict[str, str]]:
        entries = []
        while True:
            try:
                entries.append(read_entry(self.end.recv(1 << 16)))
            except BlockingIOError:
                return entries


def read_entry(octets: bytes) -> dict[str, str]:
    """Read fields in both of their forms."""
    fields = {}
    while octets:
        line, _, octets = octets.partition(b"\n")
        name, is_short, value = line.partition(b"=")
        if not is_short:
            length = int.from_bytes(octets[:8], "little")
            value, end, octets = octets[8 : 8 + length], octets[8 + length : 9 + length], octets[9 + length :]
            assert end == b"\n"
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stderr() -> StringIO:
    return StringIO()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.end.close()


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "stderr").open("w+") as stream:
        yield stream


def name_of(stream: TextIO) -> dict[str, str]:
    found = os.fstat(stream.fileno())
    return {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}


@contextmanager
def logging_to(clock: Clock, stream: TextIO, journal: Path, form: str | None = None) -> Iterator[JournalLog]:
    with open_log(name_of(stream), clock, stderr=stream, form=form, journal=journal) as log:
        yield log


def content(stream: TextIO) -> str:
    stream.seek(0)
    return stream.read()


def break_something() -> None:
    try:
        dict[str, str]()["canary"]
    except KeyError:
        ours.exception("a request broke")


def test_a_refusal_that_is_checked_is_logged_as_such_and_what_comes_of_it(
    clock: Clock, stderr: StringIO
) -> None:
    with open_log({}, clock, stderr=stderr) as log:
        for is_checking in (True, True, False):
            log.tell(View(StateWord.LINKED, Trouble.PROVIDER_UNAVAILABLE, is_checking=is_checking))

    first, second = stderr.getvalue().splitlines()
    assert CHECKING.sentence in first
    assert TROUBLES[Trouble.PROVIDER_UNAVAILABLE].sentence in second


# -- to the journal


def test_a_line_goes_to_the_journal_with_its_fields(clock: Clock, stream: TextIO, journal: Journal) -> None:
    with logging_to(clock, stream, journal.path) as log:
        log.tell(OFFLINE)
        ours.info("refresh: %s", "no answer")

    first, second = journal.received()
    assert first["MESSAGE"].startswith("linked, no-network: ")
    assert (first["PRIORITY"], first["DEVICE_AUTH_STATE"], first["DEVICE_AUTH_TROUBLE"]) == (
        "4",
        "linked",
        "no-network",
    )
    assert second.pop("CODE_LINE").isdecimal()
    assert second == {
        "MESSAGE": "refresh: no answer",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "device-auth",
        "DEVICE_AUTH_STATE": "linked",
        "DEVICE_AUTH_TROUBLE": "no-network",
        "CODE_FILE": __file__,
        "CODE_FUNC": "test_a_line_goes_to_the_journal_with_its_fields",
    }
    assert content(stream) == ""


def test_before_a_state_was_told_a_line_names_none(clock: Clock, stream: TextIO, journal: Journal) -> None:
    with logging_to(clock, stream, journal.path):
        ours.error("early")

    [entry] = journal.received()
    assert entry["PRIORITY"] == "3"
    assert "DEVICE_AUTH_STATE" not in entry
    assert "DEVICE_AUTH_TROUBLE" not in entry


def test_of_a_bug_kind_and_place_are_told_over_several_lines(
    clock: Clock, stream: TextIO, journal: Journal
) -> None:
    with logging_to(clock, stream, journal.path):
        break_something()

    [entry] = journal.received()
    first, place = entry["MESSAGE"].split("\n")
    assert first == "a request broke: KeyError"
    assert place.startswith(f"  {__file__}:")
    assert place.endswith(" in break_something")
    assert "canary" not in str(entry)


def test_a_message_is_one_line_whatever_it_was_made_of(
    clock: Clock, stream: TextIO, journal: Journal
) -> None:
    with logging_to(clock, stream, journal.path):
        ours.info("it says: %s", "one\nPRIORITY=0\ntwo" + "\udcff" + "x" * 100_000)

    [entry] = journal.received()
    assert entry["MESSAGE"].startswith("it says: one PRIORITY=0 two?xxx")
    assert len(entry["MESSAGE"]) == 8192
    assert entry["PRIORITY"] == "6"


def test_a_journal_that_is_gone_meanwhile_leaves_the_lines_to_stderr(
    clock: Clock, stream: TextIO, journal: Journal
) -> None:
    with logging_to(clock, stream, journal.path):
        journal.path.unlink()
        ours.warning("still there")

    assert content(stream) == "<4>still there\n"


def test_a_journal_that_reads_nothing_holds_nobody_up(clock: Clock, stream: TextIO, journal: Journal) -> None:
    with logging_to(clock, stream, journal.path):
        for number in range(2000):
            ours.info("line %d", number)

    assert 0 < len(journal.received()) < 2000
    assert content(stream) == ""


# -- to stderr


def test_where_no_journal_answers_lines_bear_their_priority(
    clock: Clock, stream: TextIO, tmp_path: Path
) -> None:
    with logging_to(clock, stream, tmp_path / "none"):
        ours.critical("over")
        ours.info("well")
        break_something()

    lines = content(stream).splitlines()
    assert lines[:3] == ["<2>over", "<6>well", "<3>a request broke: KeyError"]
    assert lines[3].startswith("<3>  ")


def test_stderr_that_leads_elsewhere_is_for_people(clock: Clock, stream: TextIO, journal: Journal) -> None:
    environ = {"JOURNAL_STREAM": "1:1"}
    with open_log(environ, clock, stderr=stream, journal=journal.path):
        ours.info("well")

    assert content(stream) == "device-auth: well\n"
    assert journal.received() == []


@pytest.mark.parametrize("environ", [{}, {"JOURNAL_STREAM": ""}, {"JOURNAL_STREAM": "rotten"}])
def test_without_a_journal_lines_are_plain(clock: Clock, stderr: StringIO, environ: dict[str, str]) -> None:
    with open_log(environ, clock, stderr=stderr):
        ours.info("well")

    assert stderr.getvalue() == "device-auth: well\n"


def test_text_is_text_even_beside_a_journal(clock: Clock, stream: TextIO, journal: Journal) -> None:
    with logging_to(clock, stream, journal.path, form="text"):
        ours.info("well")

    assert content(stream) == "<6>well\n"
    assert journal.received() == []


def test_json_is_one_object_a_line(clock: Clock, stream: TextIO, journal: Journal) -> None:
    clock.unix += 0.25
    with logging_to(clock, stream, journal.path, form="json") as log:
        break_something()
        log.tell(LINKED)

    first, second = map(json.loads, content(stream).splitlines())
    assert first.pop("code").startswith(f"{__file__}:")
    assert first.pop("message").startswith("a request broke: KeyError\n")
    assert first == {"at": "2027-01-15T08:00:00.250Z", "level": "error", "state": None, "trouble": None}
    assert (second["level"], second["state"], second["trouble"]) == ("info", "linked", "none")
    assert journal.received() == []


@pytest.mark.parametrize(
    ("unix", "at"), [(-1e12, "1970-01-01T00:00:00.000Z"), (1e18, "9999-12-31T23:59:59.000Z")]
)
def test_a_mad_clock_is_written_all_the_same(clock: Clock, stderr: StringIO, unix: float, at: str) -> None:
    clock.unix = unix
    with open_log({}, clock, stderr=stderr, form="json"):
        ours.info("well")

    assert json.loads(stderr.getvalue())["at"] == at


def test_a_stream_that_takes_nothing_stops_nobody(clock: Clock) -> None:
    closed = StringIO()
    closed.close()

    with open_log({}, clock, stderr=closed):
        ours.info("well")


# -- what is written


def test_what_libraries_say_stays_out(clock: Clock, stderr: StringIO) -> None:
    with open_log({}, clock, stderr=stderr, is_verbose=True):
        logging.getLogger("urllib3.connectionpool").critical("canary")
        logging.getLogger("werkzeug").error("canary")
        logging.getLogger("device_authority").error("canary")
        logging.getLogger("hardware.led").warning("the light stopped")

    assert stderr.getvalue() == "device-auth: the light stopped\n"


@pytest.mark.parametrize(("is_verbose", "written"), [(False, ""), (True, "device-auth: a detail\n")])
def test_details_are_for_who_asks_for_them(
    clock: Clock, stderr: StringIO, is_verbose: bool, written: str
) -> None:
    with open_log({}, clock, stderr=stderr, is_verbose=is_verbose):
        ours.debug("a detail")

    assert stderr.getvalue() == written


def test_the_same_state_is_told_once(clock: Clock, stderr: StringIO) -> None:
    with open_log({}, clock, stderr=stderr) as log:
        for view in (LINKED, LINKED, OFFLINE, OFFLINE):
            log.tell(view)

    assert [line.split(": ")[1] for line in stderr.getvalue().splitlines()] == [
        "linked",
        "linked, no-network",
    ]


def test_afterwards_logging_is_as_it_was(clock: Clock, stderr: StringIO) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)

    with open_log({}, clock, stderr=stderr):
        assert root.handlers != before[0]

    assert (root.handlers, root.level) == before


# -- what is repeated


def test_a_repeated_line_is_written_once_a_minute_with_a_count(clock: Clock, stderr: StringIO) -> None:
    with open_log({}, clock, stderr=stderr):
        for _ in range(121):
            ours.warning("no network")
            clock.pass_time(1)

    assert stderr.getvalue().splitlines() == [
        "device-auth: no network",
        "device-auth: no network (59 more within a minute)",
        "device-auth: no network",
        "device-auth: no network (59 more within a minute)",
        "device-auth: no network",
    ]


def test_what_was_left_out_is_told_with_the_next_line_of_any_kind(clock: Clock, stderr: StringIO) -> None:
    with open_log({}, clock, stderr=stderr, form="json"):
        ours.warning("no network")
        ours.warning("no network")
        clock.pass_time(3600)
        ours.info("well")

        lines = [json.loads(line) for line in stderr.getvalue().splitlines()]

    assert [(line["level"], line["message"]) for line in lines] == [
        ("warning", "no network"),
        ("warning", "no network (1 more within a minute)"),
        ("info", "well"),
    ]


def test_what_was_left_out_is_told_at_the_end(clock: Clock, stderr: StringIO) -> None:
    with open_log({}, clock, stderr=stderr):
        for _ in range(3):
            ours.info("pressed")

    assert stderr.getvalue().endswith("device-auth: pressed (2 more within a minute)\n")


def test_different_lines_do_not_hold_one_another_back(clock: Clock, stderr: StringIO) -> None:
    with open_log({}, clock, stderr=stderr):
        for number in range(1000):
            ours.info("line %d", number)

    assert len(stderr.getvalue().splitlines()) == 1000


def test_a_wall_clock_that_jumps_back_does_not_silence_the_log(clock: Clock, stderr: StringIO) -> None:
    with open_log({}, clock, stderr=stderr):
        ours.info("well")
        clock.unix = UnixTime(0)
        clock.monotonic += 60
        ours.info("well")

    assert stderr.getvalue() == 2 * "device-auth: well\n"
