import fcntl
import io
import logging
import os
import re
import struct
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.assembly.speaker import unexplained
from device_auth.core.models import Monotonic, Refusal, View
from device_auth.core.states import TROUBLES, OneTimeNotice, StateWord, Trouble
from device_auth.prompts.stderr import Stderr, say, words_for
from device_auth.prompts.terminal import (
    LEAST_ROWS_WITH_SIDEBAR,
    USUAL_SIZE,
    TerminalPrompt,
    _size_of,
    open_terminal,
)
from device_auth.prompts.terminal_layout import TerminalStyle
from device_auth.prompts.wording import read_wording
from tests.code_views import (
    EXPIRED,
    LINKED,
    OWN_CONTROLS,
    PLAIN_URI,
    PROVING,
    REQUESTING,
    SAVING,
    Window,
    code_pair,
    photograph,
    waiting,
)
from tests.qr_decoders import READERS, Reader
from tests.values import moment

PREFILLED = f"{PLAIN_URI}?cbl-code=AAYJHL"
REFUSED = View(StateWord.UNLINKED, Trouble.EXPIRED, refusal=EXPIRED)


# -- what one sees ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize(("ink", "ground"), [(229, 24), (24, 229)])
def test_the_usual_screen_shows_picture_text_and_countdown_at_once(
    read: Reader, colour: bool, ink: int, ground: int
) -> None:
    window = Window(80, 24, colour=colour)
    window.out.write("$ device-auth link\n")

    window.show(REQUESTING)
    window.show(waiting(), 0)
    window.show(waiting(), 18)

    assert window.text.startswith("$ device-auth link\n")
    assert PLAIN_URI in window.text
    assert "enter the code AAYJHL" in window.text
    assert window.text.endswith("Waiting for your approval. Time left: 9:42")
    assert read(photograph(window.screen, ink=ink, ground=ground)) == [PREFILLED]


@pytest.mark.parametrize("trouble", [trouble for trouble in Trouble if trouble is not Trouble.NONE])
def test_the_picture_stays_whole_while_a_trouble_is_told(trouble: Trouble) -> None:
    window = Window(80, 24)
    window.show(waiting())

    window.show(waiting(trouble=trouble), 1)

    told = " ".join(window.text.split())
    assert "Time left: 9:59" in told
    assert told.endswith(" ".join(TROUBLES[trouble]))
    assert READERS[0](photograph(window.screen)) == [PREFILLED]


def test_a_trouble_that_has_passed_leaves_no_trace_on_a_terminal() -> None:
    window = Window()
    window.show(waiting(trouble=Trouble.CLOCK_NOT_SET))

    window.show(waiting(), 1)

    assert "clock" not in window.text
    assert window.text.endswith("Time left: 9:59")


def test_the_hint_of_the_moment_is_told_before_that_of_the_table() -> None:
    window = Window()

    window.show(waiting(trouble=Trouble.NO_NETWORK, hint="Plug the cable in."))

    assert "There is no way to the network. Plug the cable in." in window.text


def test_each_state_takes_the_place_of_the_one_before() -> None:
    window = Window()

    seen = []
    for view in (REQUESTING, waiting(), SAVING, PROVING, LINKED):
        window.show(view)
        seen.append(window.text.rsplit("\n", 1)[-1])

    assert seen == [
        "The speaker is asking for a code.",
        "Waiting for your approval. Time left: 10:00",
        "The link is being saved. Do not unplug the speaker.",
        "The link is saved and being tried out. Wait a moment.",
        "Linked. It stays linked, also when the speaker is unplugged.",
    ]
    assert "Waiting" not in window.text


def test_the_account_is_told_where_it_is_known() -> None:
    window = Window()

    window.show(replace(LINKED, account="ana@example.org"))

    assert "Linked. The account is ana@example.org." in window.text


@pytest.mark.parametrize("is_tty", [True, False])
def test_what_may_be_gone_after_a_power_cut_is_not_promised_to_stay(is_tty: bool) -> None:
    window = Window(is_tty=is_tty)

    window.show(replace(LINKED, account="Ana", doubt="/run/x is in memory. Keep the state on the card."))

    assert window.text == "Linked. The account is Ana.\n/run/x is in memory. Keep the state on the card."


def test_linked_is_said_once_and_again_when_asked() -> None:
    window = Window()
    window.show(LINKED)
    window.show(LINKED)
    assert window.text.count("Linked.") == 1

    window.show(replace(LINKED, sequence=1))

    assert window.text.count("Linked.") == 2


def test_a_refusal_says_what_happened_and_what_to_do() -> None:
    window = Window()
    window.show(waiting())

    window.show(REFUSED, 600)

    assert window.text.endswith("The code ran out. Ask for a new one.")
    assert "Waiting" not in window.text


def test_a_refusal_without_words_of_its_own_takes_those_of_its_trouble() -> None:
    window = Window()

    window.show(View(StateWord.UNLINKED, Trouble.DENIED, refusal=Refusal(Trouble.DENIED, "", "", "")))

    assert window.text.endswith(" ".join(TROUBLES[Trouble.DENIED]))


def test_another_trouble_is_told_beside_a_refusal() -> None:
    window = Window()

    window.show(replace(REFUSED, trouble=Trouble.NO_NETWORK))

    assert "The code ran out." in window.text
    assert TROUBLES[Trouble.NO_NETWORK].sentence in window.text


def test_a_renewal_says_that_the_old_code_is_over() -> None:
    window = Window(100, 60)
    window.show(waiting())

    window.show(replace(REQUESTING, refusal=EXPIRED), 600)
    window.show(waiting(code_pair("BBBBBB", expires_at=1200)), 601)

    assert "The code ran out." in window.text
    assert window.text.count("Link this speaker to your account") == 1
    assert "New code: the old one no longer works." in window.text
    assert window.text.index("AAYJHL") < window.text.index("BBBBBB")


def test_a_code_after_a_link_replaces_none() -> None:
    window = Window(100, 60)
    window.show(waiting())

    window.show(replace(REQUESTING, state=StateWord.LINKED), 100)
    window.show(waiting(code_pair("BBBBBB", expires_at=1200)), 601)

    assert window.text.count("Link this speaker to your account") == 2
    assert "New code" not in window.text


def test_the_same_code_is_drawn_once_and_again_when_asked() -> None:
    window = Window(100, 60)
    window.show(waiting())
    window.show(waiting(), 1)
    assert window.text.count(PLAIN_URI) == 1

    window.show(waiting(sequence=1), 2)

    assert window.text.count(PLAIN_URI) == 2
    assert window.text.count("Time left") == 1


def test_an_unlinked_speaker_without_trouble_says_nothing() -> None:
    window = Window()

    window.show(View(StateWord.STARTING, Trouble.NONE))
    window.show(View(StateWord.UNLINKED, Trouble.NONE))

    assert window.out.getvalue() == ""


def test_a_cancelled_wait_takes_its_line_with_it() -> None:
    window = Window()
    window.show(waiting())

    window.show(View(StateWord.UNLINKED, Trouble.NONE))

    assert "Waiting" not in window.text


def test_a_waiting_speaker_without_a_code_says_what_it_does() -> None:
    window = Window()

    assert window.show(View(StateWord.WAITING, Trouble.NONE)) is None

    assert "waits for its owner" in window.text


# -- how it is written ------------------------------------------------------------------------------------


def test_a_second_later_one_line_is_written_over_and_nothing_else() -> None:
    window = Window()
    window.show(waiting())
    before = len(window.out.getvalue())

    window.show(waiting(), 1)

    assert window.out.getvalue()[before:] == "\rWaiting for your approval. Time left: 9:59\x1b[K\x1b[J"


def test_the_cursor_is_never_hidden() -> None:
    window = Window()
    for view in (REQUESTING, waiting(), SAVING, LINKED):
        window.show(view)
    window.prompt.close()

    assert "\x1b[?" not in window.out.getvalue()


def test_without_colours_no_look_is_given_to_any_line() -> None:
    window = Window(colour=False, qr=False)
    for view in (waiting(), waiting(trouble=Trouble.STORAGE), REFUSED, LINKED):
        window.show(view)

    assert not re.search(r"\x1b\[[0-9;]*m", window.out.getvalue())


def test_closing_leaves_the_cursor_on_a_line_of_its_own_once() -> None:
    window = Window()
    window.show(waiting())
    before = len(window.out.getvalue())

    window.prompt.close()
    window.prompt.close()

    assert window.out.getvalue()[before:] == "\n"


def test_closing_after_the_end_adds_nothing() -> None:
    window = Window()
    window.show(LINKED)
    before = window.out.getvalue()

    window.prompt.close()

    assert window.out.getvalue() == before


def test_the_live_lines_never_outgrow_the_window() -> None:
    window = Window(20, 5)
    for second in range(20):
        window.show(waiting(trouble=Trouble.CLOCK_NOT_SET), second)

    assert window.text.count("Waiting") == 1


# -- when to be called again ------------------------------------------------------------------------------


def test_the_countdown_asks_for_each_full_second() -> None:
    window = Window()

    assert window.show(waiting(), 0) == moment(1)
    assert window.show(waiting(), 0.4) == moment(1)
    assert window.show(waiting(), 1) == moment(2)
    assert window.show(waiting(), 599) == moment(600)


def test_the_countdown_ends_at_nought() -> None:
    window = Window()

    assert window.show(waiting(), 600) is None
    assert window.show(waiting(), 700) is None

    assert window.text.endswith("Time left: 0:00")


@pytest.mark.parametrize("view", [REQUESTING, SAVING, PROVING, LINKED, REFUSED])
def test_nothing_else_counts(view: View) -> None:
    assert Window().show(view) is None


# -- elsewhere than on a terminal -------------------------------------------------------------------------


def test_elsewhere_a_line_is_written_at_each_change_and_each_minute() -> None:
    window = Window(is_tty=False, qr=False)
    window.show(REQUESTING)
    now, again = 0.0, window.show(waiting(), 0)
    while again is not None:
        now, again = again, window.show(waiting(), again)
    window.show(waiting(trouble=Trouble.NO_NETWORK), now)
    window.show(waiting(), now)
    window.show(SAVING, now)
    window.show(LINKED, now)
    window.prompt.close()

    asking, *others = window.out.getvalue().split("\n")
    assert asking == "The speaker is asking for a code."
    assert others[others.index("Waiting for your approval. Time left: 10 minutes") :] == [
        *(f"Waiting for your approval. Time left: {minutes} minutes" for minutes in range(10, 1, -1)),
        "Waiting for your approval. Time left: 1 minute",
        "There is no way to the network. Check the Wi-Fi or the cable; it goes on by itself.",
        "All is well.",
        "The link is being saved. Do not unplug the speaker.",
        "Linked. It stays linked, also when the speaker is unplugged.",
        "",
    ]


def test_elsewhere_the_last_seconds_are_told_as_such() -> None:
    window = Window(is_tty=False, qr=False)

    assert window.show(waiting(), 570.5) is None

    assert "Time left: 30 s" in window.written


def test_elsewhere_no_control_character_is_written() -> None:
    window = Window(is_tty=False, colour=True)
    for view in (REQUESTING, waiting(), waiting(trouble=Trouble.STORAGE), REFUSED, LINKED):
        window.show(view)

    assert all(character.isprintable() or character == "\n" for character in window.out.getvalue())
    assert "████" in window.out.getvalue()


# -- a window that is resized -----------------------------------------------------------------------------


def test_a_window_made_larger_shows_the_picture_it_had_no_room_for() -> None:
    window = Window(60, 20)
    window.show(waiting())
    assert "left out" in window.text

    window.resize(100, 40)
    window.show(waiting(), 1)
    window.show(waiting(), 2)

    assert READERS[0](photograph(window.screen)) == [PREFILLED]
    assert window.text.endswith("Time left: 9:58")


def test_a_window_that_is_being_dragged_is_left_alone_until_it_rests() -> None:
    window = Window(100, 30)
    window.show(waiting())
    before = window.out.getvalue()

    for second in range(1, 5):
        window.resize(100 - second, 30)
        assert window.show(waiting(), second) == moment(second + 1)
    dragged = window.out.getvalue()
    window.show(waiting(), 5)

    assert dragged == before
    assert window.out.getvalue().count(PLAIN_URI) == 2


def test_news_does_not_wait_for_a_window_to_rest() -> None:
    window = Window(100, 30)
    window.show(waiting())

    window.resize(90, 30)
    window.show(SAVING, 1)
    window.show(PROVING, 2)

    assert window.text.endswith("The link is saved and being tried out. Wait a moment.")
    assert window.out.getvalue().count(PLAIN_URI) == 1


# -- real streams -----------------------------------------------------------------------------------------


@pytest.fixture
def pty() -> Iterator[tuple[int, io.TextIOWrapper]]:
    master, slave = os.openpty()
    with open(slave, "w", encoding="utf-8") as stream:  # noqa: PTH123 - an open file has no path
        yield master, stream
    os.close(master)


def _resize(stream: io.TextIOWrapper, columns: int, rows: int) -> None:
    fcntl.ioctl(stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_a_terminal_is_found_out_with_its_size(pty: tuple[int, io.TextIOWrapper]) -> None:
    master, stream = pty
    _resize(stream, 100, 40)
    prompt = open_terminal(stream, environ_no_color=False, qr=True)

    prompt.show(waiting(), moment(0))

    seen = _read_to_the_end(master)
    assert "\x1b[37;97;40m" in seen
    assert seen.endswith("Time left: 10:00\x1b[K\x1b[J")
    assert max(len(OWN_CONTROLS.sub("", line)) for line in seen.split("\n")) > 80


def _read_to_the_end(master: int) -> str:
    """Read a whole picture: the kernel may hand it over in pieces."""
    seen = b""
    while not seen.endswith(b"\x1b[J"):
        seen += os.read(master, 65536)
    return seen.decode()


def test_no_color_is_obeyed_but_for_the_black_and_white_of_the_picture(
    pty: tuple[int, io.TextIOWrapper],
) -> None:
    master, stream = pty
    prompt = open_terminal(stream, environ_no_color=True, qr=True)

    prompt.show(waiting(), moment(0))

    seen = _read_to_the_end(master)
    looks = set(re.findall(r"\x1b\[[0-9;]*m", seen))
    assert looks == {"\x1b[37;97;40m", "\x1b[0m"}, "black and white, of the picture alone"
    assert not re.search(r"\x1b\[[0-9;]*m[^█▀▄ ]", seen.replace("\x1b[0m", ""))


def test_a_dumb_terminal_gets_no_escape_sequence(pty: tuple[int, io.TextIOWrapper]) -> None:
    master, stream = pty
    _resize(stream, 100, 40)
    prompt = open_terminal(stream, environ_no_color=True, is_dumb=True, qr=True)

    prompt.show(REQUESTING, moment(0))
    prompt.show(waiting(), moment(0))
    prompt.close()

    stream.write("the end")
    stream.flush()
    seen = b""
    while not seen.endswith(b"the end"):
        seen += os.read(master, 65536)
    assert b"\x1b" not in seen
    assert b"\r" not in seen.replace(b"\r\n", b"")
    assert "█" in seen.decode()
    assert max(map(len, seen.decode().splitlines())) <= 100


def test_a_line_that_does_not_know_its_size_counts_as_the_usual_one(
    pty: tuple[int, io.TextIOWrapper], tmp_path: Path
) -> None:
    _, stream = pty
    _resize(stream, 0, 0)
    assert _size_of(stream.fileno()) == USUAL_SIZE
    with (tmp_path / "file").open("w") as file:
        assert _size_of(file.fileno()) == USUAL_SIZE


def test_a_file_gets_calm_lines_after_what_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with path.open("w", encoding="utf-8") as stream:
        stream.write("before\n")
        open_terminal(stream, environ_no_color=False, qr=True).show(waiting(), moment(0))

    assert path.read_text(encoding="utf-8").startswith("before\n\n███")
    assert "\x1b" not in path.read_text(encoding="utf-8")


def test_a_stream_without_a_file_is_written_to_as_it_is() -> None:
    stream = io.StringIO()

    open_terminal(stream, environ_no_color=False, qr=False).show(waiting(), moment(0))

    assert PLAIN_URI in stream.getvalue()
    assert stream.getvalue().isascii()


def test_a_stream_that_breaks_tells_its_caller_and_can_be_tried_again() -> None:
    class Broken(io.StringIO):
        is_broken = True

        def write(self, text: str) -> int:
            if self.is_broken:
                raise BrokenPipeError
            return super().write(text)

    stream = Broken()
    prompt = TerminalPrompt(
        stream, size=lambda: (80, 24), is_tty=True, colour=True, encoding="utf-8", qr=False
    )
    with pytest.raises(BrokenPipeError):
        prompt.show(waiting(), moment(0))

    stream.is_broken = False
    prompt.show(SAVING, moment(1))

    assert "being saved" in stream.getvalue()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # from 3.13, of what is thrown away
def test_a_full_disk_tells_its_caller() -> None:
    with (
        Path("/dev/full").open("w", encoding="utf-8") as stream,
        pytest.raises(OSError, match="No space"),
    ):
        open_terminal(stream, environ_no_color=False, qr=False).show(waiting(), moment(0))


# -- beside somebody else's lines -------------------------------------------------------------------------


class Neighbour:
    """Two lines that are looked at every quarter of a second."""

    rows = 2

    def __init__(self) -> None:
        self.drawn = 0

    def lines(self, style: TerminalStyle) -> list[str]:
        self.drawn += 1
        return ["first".ljust(style.columns - 2, "."), f"drawn {self.drawn} times"]

    def changes_at(self, now: Monotonic) -> Monotonic:
        return Monotonic(now + 0.25)


@pytest.mark.parametrize("uri", [PLAIN_URI, "http://127.0.0.1:45678/us/code"])
def test_lines_of_another_stand_above_the_time_left_and_the_picture_still_fits(uri: str) -> None:
    window = Window(80, 24, sidebar=Neighbour())
    prefilled = f"{uri}?cbl-code=AAYJHL"
    window.show(waiting(code_pair(uri=uri, prefilled=prefilled)))
    again = window.show(waiting(code_pair(uri=uri, prefilled=prefilled)), 0.25)

    assert again == moment(0.5)
    assert window.text.split("\n")[-3:-1] == ["first".ljust(78, "."), "drawn 2 times"]
    assert window.text.endswith("Time left: 10:00")
    assert READERS[0](photograph(window.screen)) == [prefilled]


def test_lines_of_another_stay_below_what_lasts() -> None:
    window = Window(80, 24, sidebar=Neighbour())
    for view in (waiting(), SAVING, LINKED):
        window.show(view)

    assert "Linked." in window.text.split("\n")[-3]
    assert window.text.endswith("drawn 3 times")


def test_a_small_terminal_is_left_to_the_code() -> None:
    neighbour = Neighbour()
    window = Window(80, LEAST_ROWS_WITH_SIDEBAR - 1, sidebar=neighbour)

    assert window.show(waiting()) == moment(1)
    assert neighbour.drawn == 0


def test_a_window_that_is_dragged_is_not_drawn_again_at_the_pace_of_another() -> None:
    window = Window(80, 24, sidebar=Neighbour())
    window.show(waiting())
    window.resize(90, 24)

    assert window.show(waiting(), 0.25) == moment(1)


def test_lines_of_another_are_for_a_terminal_only(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        prompt = open_terminal(log, environ_no_color=False, qr=False, sidebar=Neighbour())
        prompt.show(waiting(), moment(0))
        log.seek(0)

        assert "first" not in log.read()


# -- what others write ------------------------------------------------------------------------------------


def test_what_others_write_stands_above_the_live_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window(80, 24, qr=False)
    monkeypatch.setattr("sys.stderr", window.out)
    with window.prompt.lines_go_above():
        window.show(REQUESTING)
        say("The first.")
        window.show(SAVING)
        say("The second.")
        window.look()
    say("The last.")

    assert window.text.splitlines() == [
        "The first.",
        "The second.",
        "The link is being saved. Do not unplug the speaker.",
    ]
    assert sys.stderr is window.out


def test_what_others_write_to_a_file_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    window = Window(is_tty=False)
    monkeypatch.setattr("sys.stderr", window.out)
    with window.prompt.lines_go_above():
        assert sys.stderr is window.out


def test_a_question_about_a_link_is_told_in_place_of_the_link() -> None:
    window = Window(80, 24)
    window.show(LINKED)
    window.show(replace(LINKED, notice=OneTimeNotice.CONFIRM_UNLINK, sequence=LINKED.sequence + 1))

    assert window.text.count("Linked.") == 1
    assert "To unlink this speaker, press the button once within ten seconds." in window.text


def test_a_held_button_is_told_of_above_a_code_that_stays() -> None:
    window = Window(80, 24)
    window.show(waiting())
    before = window.text
    window.show(replace(waiting(), notice=OneTimeNotice.HELD_UNLINK))

    assert "If you let go now, I will ask whether to unlink" in " ".join(window.text.split())
    assert window.text.count("Link this speaker to your account") == before.count(
        "Link this speaker to your account"
    )


def test_nobody_is_bidden_to_scan_the_address_of_this_machine() -> None:
    window = Window(80, 24)
    window.show(waiting(replace(code_pair(), verification_uri="http://127.0.0.1:8100/us/code")))

    assert "1. Open this here (no phone can):\n" in "\n".join(
        line[-36:].strip() + "\n" for line in window.text.splitlines()
    )
    assert "phone, or open" not in window.text


# -- another language -------------------------------------------------------------------------------------


GERMAN = read_wording("de")


def test_in_another_language_each_sentence_is_its_owners() -> None:
    window = Window(80, 24, is_tty=False, qr=False, words=GERMAN)
    window.show(REQUESTING)
    window.show(waiting(), 0)
    window.show(replace(waiting(), trouble=Trouble.NO_NETWORK), 0)
    window.show(SAVING, 30)
    window.show(LINKED, 31)
    told = " ".join(window.written.split())

    assert GERMAN.states["requesting"] in told
    assert f"{GERMAN.states['waiting']} Noch 10:00 gültig" in told
    assert f"{GERMAN.troubles['no-network'].sentence} {GERMAN.troubles['no-network'].next_step}" in told
    assert GERMAN.states["saving"] in told
    assert GERMAN.moments["just-linked"] in told
    assert not re.search(r"Waiting|Time left|Linked|account", told)


@pytest.mark.parametrize("doubt", ["", "/run/x is in memory."])
def test_in_another_language_a_link_is_told_with_its_account_and_its_doubt(doubt: str) -> None:
    window = Window(80, 24, is_tty=False, words=GERMAN)
    window.show(PROVING)
    window.show(replace(LINKED, account="anna@example.com", doubt=doubt))
    told = " ".join(window.written.split())

    assert "Dieser Lautsprecher ist mit dem Konto von anna@example.com verknüpft." in told
    assert (GERMAN.moments["for-now"] in told) is bool(doubt)
    assert doubt in told


def test_in_another_language_only_what_an_administrator_must_mend_stays_english() -> None:
    broken = Refusal(Trouble.MISCONFIGURED, "", "the client ID is unknown", "Run: device-auth config check")
    owner, administrator = (
        Window(80, 24, is_tty=False, words=GERMAN),
        Window(80, 24, is_tty=False, words=GERMAN),
    )
    owner.show(REFUSED)
    administrator.show(View(StateWord.UNLINKED, Trouble.MISCONFIGURED, refusal=broken))
    expired = GERMAN.troubles["expired"]

    assert " ".join(owner.written.split()) == f"{expired.sentence} {expired.next_step}"
    assert " ".join(administrator.written.split()) == (
        f"{GERMAN.troubles['misconfigured'].sentence} The client ID is unknown. Run: device-auth config check"
    )


def test_an_end_without_a_reason_is_told_in_english_alone() -> None:
    window = Window(is_tty=False, words=GERMAN)
    window.show(View(StateWord.UNLINKED, Trouble.NONE, refusal=unexplained("Try again.")))

    assert window.written.strip() == "Linking ended without a link. Try again."


def test_a_notice_is_told_in_another_language() -> None:
    window = Window(80, 24, is_tty=False, words=GERMAN)
    window.show(View(StateWord.UNLINKED, Trouble.NONE, notice=OneTimeNotice.CANCELLED))

    assert window.written.strip() == GERMAN.moments["cancelled"]


def test_an_address_of_this_machine_is_told_in_another_language() -> None:
    window = Window(80, 24, words=GERMAN)
    window.show(waiting(replace(code_pair(), verification_uri="http://127.0.0.1:8100/us/code")))

    assert "1. Öffnen Sie dies hier" in window.text
    assert "Open this here" not in window.text


def test_time_left_is_counted_down_in_another_language() -> None:
    window = Window(80, 24, words=read_wording("fr"))
    window.show(waiting(), 0)
    window.show(waiting(), 18.5)

    assert "Valable encore 9:42" in window.text


@pytest.mark.parametrize(("now", "left"), [(0, "10:00"), (30.5, "10:00"), (60, "9:00"), (570, "0:30")])
def test_in_lines_another_language_counts_minutes_and_the_last_one_in_seconds(now: float, left: str) -> None:
    window = Window(is_tty=False, words=GERMAN)
    window.show(waiting(), now)

    assert f"Noch {left} gültig" in window.written


@pytest.mark.parametrize(
    ("locale", "encoding", "title"),
    [
        ("de-DE", "utf-8", "Ihr Lautsprecher"),
        ("pt-PT,en-US", "latin-1", "A sua coluna"),
        ("ja-JP", "utf-8", "お使いのスピーカー"),
        ("ja-JP", "latin-1", None),
        ("de-DE", "ascii", None),
        ("en-US", "utf-8", None),
        ("en_GB.UTF-8", "utf-8", None),
        ("sv-SE", "utf-8", None),
    ],
)
def test_the_words_are_of_the_locale_where_the_stream_can_carry_them(
    locale: str, encoding: str, title: str | None
) -> None:
    words = words_for(locale, io.TextIOWrapper(io.BytesIO(), encoding=encoding))

    assert (words and words.page["title"]) == title


def test_what_is_no_terminal_has_no_links() -> None:
    for is_tty in (True, False):
        out = io.StringIO()
        prompt = TerminalPrompt(
            out,
            size=lambda: (80, 24),
            is_tty=is_tty,
            colour=True,
            encoding="utf-8",
            qr=False,
            has_links=True,
        )
        prompt.show(waiting(), moment(0))

        assert ("\x1b]8;;https://" in out.getvalue()) == is_tty


def test_a_line_of_the_log_is_broken_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = os.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("4H", 24, 30, 0, 0))
    with open(far, "w") as terminal, open(near, "rb", buffering=0) as heard:  # noqa: PTH123  numbers
        monkeypatch.setattr("sys.stderr", terminal)
        logging.StreamHandler(Stderr()).emit(
            logging.makeLogRecord({"msg": "/run/state is in memory: the link is gone"})
        )

        assert heard.read(100).decode().splitlines() == ["/run/state is in memory: the", "  link is gone"]
