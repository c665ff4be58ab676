"""What the doctor finds in the clocks; each test sets one of them wrong."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from device_auth.core.models import Monotonic, UnixTime
from device_auth.doctor.clock import checks
from device_auth.doctor.findings import Finding, Verdict
from device_auth.world.clock import LONGEST_LIFE, RELEASED_AT, BootClock
from tests.certificates import FAR_AHEAD, LONG_AGO, NOW, Authority
from tests.far_provider import HOST, FarProvider, broken, examined, served
from tests.scripted_server import answers
from tests.transports import over_tls

ROOT = Path(__file__).parents[2]
WRITTEN_AT = RELEASED_AT + 1000
NOON = RELEASED_AT + 100_000


class SetClock(BootClock):
    """A clock with each of its readings set by the test."""

    def __init__(
        self, wall: float = NOON, *, now: float = 500, awake: float = 400, is_kept: bool | None = True
    ) -> None:
        self._readings = (wall, now, awake)
        self._is_kept = is_kept

    def wall(self) -> UnixTime:
        return UnixTime(self._readings[0])

    def now(self) -> Monotonic:
        return Monotonic(self._readings[1])

    def awake(self) -> Monotonic:
        return Monotonic(self._readings[2])

    def is_kept_right(self) -> bool | None:
        return self._is_kept


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.touch()
    os.utime(path, (WRITTEN_AT, WRITTEN_AT))
    return path


@pytest.fixture
def uptime(tmp_path: Path) -> Path:
    path = tmp_path / "uptime"
    path.write_text("500.25 1000.00\n")
    return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def look(
    own_file: Path,
    uptime: Path,
    clock: SetClock | None = None,
    date: str | None = None,
    authority: Authority | None = None,
    validity: tuple[datetime, datetime] = (LONG_AGO, FAR_AHEAD),
) -> dict[str, Finding]:
    """Look at the clock beside a provider whose own says ``date``."""
    clock = clock or SetClock()
    if authority is None:
        return examined(checks(None, clock, own_file=own_file, uptime=uptime))
    far = FarProvider(authority.ca_file, clock=clock)
    context = authority.server_context(HOST, starts=validity[0], ends=validity[1])
    headers = () if date is None else tuple(date.split("\r\n"))
    with served(far, over_tls(context, answers([b""], *headers))):
        return examined(checks(far.probe(), clock, own_file=own_file, uptime=uptime))


def dated(off_by: float) -> str:
    """Return the header of a provider when this machine's clock is off by so many seconds."""
    return f"Date: {format_datetime(datetime.fromtimestamp(NOON - off_by, UTC), usegmt=True)}"


def test_clocks_that_agree_raise_no_alarm(own_file: Path, uptime: Path, authority: Authority) -> None:
    found = look(own_file, uptime, date=dated(30), authority=authority)

    assert broken(found) == []
    assert list(found) == ["T1", "T2", "T3", "T4"]
    assert dict(found["T2"].facts)["off_by_seconds"] == "30"


def test_the_clocks_of_this_machine_raise_no_alarm() -> None:
    found = examined(checks(None, BootClock()))

    # whether this machine keeps its clock by the network is its own affair
    assert set(broken(found)) <= {"T2", "T3"}


@pytest.mark.parametrize("wall", [0, WRITTEN_AT - 1])
def test_a_clock_before_the_programs_own_files_is_found(own_file: Path, uptime: Path, wall: float) -> None:
    found = look(own_file, uptime, SetClock(wall))["T1"]

    assert found.verdict is Verdict.FAIL
    assert found.exit_code == 69
    assert found.sentence.startswith("The clock is not set: it shows ")
    assert "timedatectl" in found.next_step


@pytest.mark.parametrize("wall", [RELEASED_AT + LONGEST_LIFE + 1, 1e15])
def test_a_clock_far_in_the_future_is_found(own_file: Path, uptime: Path, wall: float) -> None:
    assert "cannot be right" in look(own_file, uptime, SetClock(wall))["T1"].sentence


@pytest.mark.parametrize(
    ("off_by", "verdict", "words"),
    [
        (119, Verdict.OK, "agrees"),
        (-119, Verdict.OK, "agrees"),
        (125, Verdict.WARN, "is 2 minutes fast"),
        (-3599, Verdict.WARN, "is 60 minutes slow"),
        (2 * 3600, Verdict.FAIL, "is 2 hours fast"),
        (-90 * 86_400, Verdict.FAIL, "is 90 days slow"),
    ],
)
def test_a_clock_that_differs_from_the_providers_is_found(
    own_file: Path, uptime: Path, authority: Authority, off_by: float, verdict: Verdict, words: str
) -> None:
    found = look(own_file, uptime, date=dated(off_by), authority=authority)

    assert broken(found) == ([] if verdict is Verdict.OK else ["T2"])
    assert found["T2"].verdict is verdict
    assert words in found["T2"].sentence
    assert found["T2"].exit_code == (69 if verdict is Verdict.FAIL else 0)


def test_the_age_of_a_cached_answer_is_counted(own_file: Path, uptime: Path, authority: Authority) -> None:
    found = look(own_file, uptime, date=f"{dated(7200)}\r\nAge: 7190", authority=authority)

    assert dict(found["T2"].facts)["off_by_seconds"] == "10"


@pytest.mark.parametrize("date", [None, "Date: soon", "Date: Thu, 01 Jan 99999 00:00:00 GMT"])
def test_a_provider_that_tells_no_date_proves_nothing(
    own_file: Path, uptime: Path, authority: Authority, date: str | None
) -> None:
    assert look(own_file, uptime, date=date, authority=authority)["T2"].verdict is Verdict.SKIPPED


def test_a_date_is_told_with_a_warning_where_the_certificates_dates_are_wrong(
    own_file: Path, uptime: Path, authority: Authority
) -> None:
    validity = (NOW + timedelta(days=7), FAR_AHEAD)
    found = look(own_file, uptime, date=dated(-86_400), authority=authority, validity=validity)

    assert broken(found) == ["T2"]
    assert "do not set the clock by this" in dict(found["T2"].facts)["trust"]


def test_a_date_of_a_server_that_does_not_prove_who_it_is_does_not_count(
    own_file: Path, uptime: Path, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "Stranger")
    clock = SetClock()
    for validity in ((LONG_AGO, FAR_AHEAD), (NOW + timedelta(days=7), FAR_AHEAD)):
        context = stranger.server_context(HOST, starts=validity[0], ends=validity[1])
        far = FarProvider(authority.ca_file, clock=clock)
        with served(far, over_tls(context, answers([b""], dated(-86_400)))):
            found = examined(checks(far.probe(), clock, own_file=own_file, uptime=uptime))

        assert found["T2"].verdict is Verdict.SKIPPED


@pytest.mark.parametrize(("is_kept", "verdict"), [(False, Verdict.WARN), (None, Verdict.SKIPPED)])
def test_a_clock_that_nothing_keeps_right_is_told(
    own_file: Path, uptime: Path, authority: Authority, is_kept: bool | None, verdict: Verdict
) -> None:
    found = look(own_file, uptime, SetClock(is_kept=is_kept), dated(0), authority)

    assert broken(found) == ["T3"]
    assert found["T3"].verdict is verdict


@pytest.mark.parametrize(
    ("clock", "text"),
    [(SetClock(awake=600), "500.25 1000.00\n"), (SetClock(), "600.25 1000.00\n")],
)
def test_a_boot_clock_behind_the_others_is_told(
    own_file: Path, uptime: Path, authority: Authority, clock: SetClock, text: str
) -> None:
    uptime.write_text(text)
    found = look(own_file, uptime, clock, dated(0), authority)

    assert broken(found) == ["T4"]
    assert found["T4"].verdict is Verdict.WARN


@pytest.mark.parametrize("text", ["", "long", "20.00 10.00"])
def test_an_uptime_that_a_container_makes_up_is_no_alarm(
    own_file: Path, uptime: Path, authority: Authority, text: str
) -> None:
    uptime.write_text(text)

    assert broken(look(own_file, uptime, date=dated(0), authority=authority)) == []


IN_ANOTHER_TIME = """
import json, sys
from device_auth.doctor import clock, network
from device_auth.world.clock import BootClock
from tests.far_provider import V4, FarProvider, credential_probe

far = FarProvider(sys.argv[1], clock=BootClock())
far.ports[V4, 443] = int(sys.argv[2])
probe = far.probe()
found = {check.code: check.look() for check in clock.checks(probe, BootClock()) + network.checks(probe, credential_probe())[7:13]}
print(json.dumps({code: [finding.verdict, finding.sentence] for code, finding in found.items()}))
"""


def test_a_machine_whose_clock_is_really_wrong_is_found_out(authority: Authority) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    context = authority.server_context(HOST)
    today = f"Date: {format_datetime(datetime.now(UTC), usegmt=True)}"
    far = FarProvider()
    with served(far, over_tls(context, answers([b""], today))) as server:
        ran = subprocess.run(
            [
                *(
                    "faketime",
                    "--exclude-monotonic",
                    "2022-02-02 02:02:02",
                    sys.executable,
                    "-c",
                    IN_ANOTHER_TIME,
                ),
                *(str(authority.ca_file), str(server.port)),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(ran.stdout)
    failed = {code: sentence for code, (verdict, sentence) in found.items() if verdict == "fail"}

    assert set(failed) == {"T1", "T2", "N13"}
    assert "it shows 2022-02-02" in failed["T1"]
    assert "days slow against the provider's" in failed["T2"]
    assert "is not valid yet: the clock is slow" in failed["N13"]
    assert found["T4"][0] == "ok"
