"""A maker links the speaker by a real browser: signs in, allows, goes on past the warning, and ends on our page."""

from pathlib import Path

import pytest

from tests.command import read_event, read_lines, started, stream_of
from tests.phone import Phone, needs_a_browser
from tests.ports import free_port
from tests.waiting import LONG

pytestmark = [*needs_a_browser, pytest.mark.slow]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return [
        *("authorize", "--simulate=manual", "--json", "--no-browser"),
        *("--redirect-uri", f"https://localhost:{free_port()}/authresponse"),
        *("--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")),
    ]


@pytest.mark.parametrize(
    ("decision", "exit_code", "last"), [("allow", 0, "linked"), ("cancel", 77, "refused")]
)
def test_a_maker_decides_in_a_browser_and_goes_on_past_the_warning(
    words: list[str], phone: Phone, decision: str, exit_code: int, last: str
) -> None:
    with started(*words) as process:
        told = read_event(process, "authorize")
        phone.open(str(told["authorization_uri"]))
        phone.press("button", f"[value={decision}]")
        phone.press(f"button[value={decision}]", "#details-button")
        phone.press("#details-button", "#proceed-link")
        phone.press("#proceed-link", "h1")
        title = phone.element("h1").text
        phone.look("back")
        *_, event = read_lines(stream_of(process.stdout))

        assert process.wait(LONG) == exit_code
    assert event["event"] == last
    assert (
        title
        == {
            "allow": "Thank you: the answer has arrived",
            "cancel": "The account was not linked",
        }[decision]
    )
