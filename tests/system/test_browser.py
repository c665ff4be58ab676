"""A speaker linked by an owner with a phone: the command, the simulated Amazon and the browser, a process each."""

import fcntl
import io
import json
import os
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyte
import pytest
from PIL import Image

from tests.code_views import photograph
from tests.command import read_event, read_lines, started, stream_of
from tests.phone import Phone, needs_a_browser
from tests.qr_decoders import READERS
from tests.waiting import LONG, wait_for
from tests.world import CLIENT_ID

if TYPE_CHECKING:
    import subprocess

pytestmark = [*needs_a_browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    with started("simulator", "--json", "--port", "0", "--interval", "1") as simulator:
        yield json.loads(stream_of(simulator.stdout).readline())
        simulator.terminate()
        assert simulator.wait(LONG) == 0


@pytest.fixture(params=["scripts", "no scripts"])
def phone(request: pytest.FixtureRequest, phone: Phone) -> Phone:
    phone.wear("light", scripts=request.param == "scripts")
    return phone


@pytest.fixture
def words(addresses: dict[str, str], tmp_path: Path) -> list[str]:
    """What a rig says to link one speaker."""
    return [
        *("link", "--json", "--base-url", addresses["base_url"]),
        *("--client-id", CLIENT_ID, "--product-id", "kitchen", "--dsn", "K-0001"),
        *("--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")),
    ]


def decoded(picture: Image.Image) -> str:
    """Read a QR code with both decoders."""
    found = {text for read in READERS for text in read(picture)}
    assert len(found) == 1
    assert all(len(read(picture)) == 1 for read in READERS)
    return found.pop()


def end_of(process: "subprocess.Popen[str]") -> tuple[int, dict[str, object]]:
    """Return the exit code and the last event."""
    *_, last = read_lines(stream_of(process.stdout))
    return process.wait(LONG), last


def test_an_owner_scans_the_picture_approves_and_the_speaker_is_linked(
    words: list[str], phone: Phone, tmp_path: Path
) -> None:
    with started(*words, "--qr-file", str(tmp_path / "code.png")) as process:
        code = read_event(process, "code")
        wait_for((tmp_path / "code.png").exists)  # the picture is another prompt's, and may come later
        link = decoded(Image.open(tmp_path / "code.png"))
        phone.open(link)
        phone.look("prefilled")
        phone.press("button", "[value=approve]")
        phone.look("ask")
        assert str(code["user_code"]) in phone.element("dl").text
        phone.press("button[value=approve]", ".mark.good")
        phone.look("approved")
        exit_code, last = end_of(process)

    assert link == code["verification_uri_complete"]
    assert (exit_code, last["event"]) == (0, "linked")
    assert not (tmp_path / "code.png").exists()


def test_an_owner_who_declines_ends_the_command_with_77(words: list[str], phone: Phone) -> None:
    with started(*words) as process:
        code = read_event(process, "code")
        phone.open(str(code["verification_uri_complete"]))
        phone.press("button", "[value=decline]")
        phone.press("button[value=decline]", ".result .mark:not(.good)")
        phone.look("declined")
        exit_code, last = end_of(process)

    assert (exit_code, last["event"], last["reason"]) == (77, "refused", "denied")


def test_a_code_typed_by_hand_in_small_letters_with_a_slip_first_is_as_good(
    words: list[str], phone: Phone
) -> None:
    with started(*words) as process:
        code = read_event(process, "code")
        phone.open(str(code["verification_uri"]))
        phone.look("empty")
        phone.element("#code").send_keys("wrong")
        phone.press("button", ".error")
        phone.look("wrong")
        phone.element("#code").clear()
        phone.element("#code").send_keys(str(code["user_code"]).lower())
        phone.press("button", "[value=approve]")
        phone.press("button[value=approve]", ".mark.good")
        exit_code, last = end_of(process)

    assert (exit_code, last["event"]) == (0, "linked")


def test_the_svg_as_a_browser_draws_it_is_the_prefilled_link(
    words: list[str], browser: Phone, tmp_path: Path
) -> None:
    with started(*words, "--qr-file", str(tmp_path / "code.svg")) as process:
        code = read_event(process, "code")
        wait_for((tmp_path / "code.svg").exists)
        browser.open((tmp_path / "code.svg").as_uri())
        picture = Image.open(io.BytesIO(browser.driver.get_screenshot_as_png()))

    assert decoded(picture) == code["verification_uri_complete"]


@contextmanager
def terminal_of(columns: int, rows: int) -> Iterator[tuple[int, int]]:
    """Open a pseudo-terminal: our end, and the command's."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    yield ours, theirs
    os.close(ours)


def test_the_code_on_a_terminal_of_80_by_24_is_the_prefilled_link_and_all_of_it_is_seen(
    words: list[str], browser: Phone
) -> None:
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)
    with terminal_of(80, 24) as (ours, theirs), started(*words, terminal=theirs) as process:
        os.close(theirs)
        code = read_event(process, "code")
        while "Time left" not in "".join(screen.display):
            stream.feed(os.read(ours, 65536))
        link = decoded(photograph(screen))
        shown = "\n".join(screen.display)
        browser.open(link)
        browser.press("button", "[value=approve]")
        browser.press("button[value=approve]", ".mark.good")
        exit_code, last = end_of(process)
        while "Linked" not in "".join(screen.display):
            stream.feed(os.read(ours, 65536))

    assert link == code["verification_uri_complete"]
    assert "Link this speaker to your account" in shown
    assert f"enter the code {code['user_code']}" in shown
    assert str(code["verification_uri"]) in shown
    assert (exit_code, last["event"]) == (0, "linked")
