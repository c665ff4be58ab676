from __future__ import annotations

import io
import json
import os
import sys
from importlib import import_module
from queue import SimpleQueue
from select import select
from typing import TYPE_CHECKING, Any

import pytest

from device_auth.cli.enabling import BOARDS
from device_auth.cli.main import main
from device_auth.installation import how_to_install
from device_auth.prompts.light import TABLE, Table
from device_auth.prompts.wording import read_wording
from device_auth.service.callers import Permissions
from device_auth.tools.operators import NOT_AS_EXPECTED, Operator, PersonAtTerminal, read_answer
from device_auth.tools.self_test import (
    QR_TEXT,
    PartsTest,
    StepResult,
    different_patterns,
    in_words,
)
from device_auth.tools.single_part import RealTime, SimulatedTime
from hardware.board import read_plan
from hardware.led import ORANGE, Breathe, Off, Solid
from hardware.plans import PlannedPart
from tests.command import ROOT
from tests.socket_world import SocketWorld
from tests.stand_ins.fixtures import FOLDER, not_installed, stand_ins
from tests.waiting import LONG, given_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from hardware.settings import Settings

__all__ = ["stand_ins"]

LED_BOARD = '[hardware]\nboard = "generic-led"\ngpio = "rpi-gpio"\n'
LED_ALONE: Settings = {"board": "generic-led", "gpio": "rpi-gpio", "button": "off"}
BUTTON_ALONE: Settings = {"board": "generic-led", "gpio": "rpi-gpio", "light": "off"}
STAND_IN = FOLDER / "modules" / "RPi" / "GPIO.py"
NAMES = [
    *("starting", "unlinked, linked", "requesting, saving, proving", "waiting"),
    "no-network, captive-portal, clock-not-set, provider-unavailable",
    *("denied, expired", "revoked, copied", "misconfigured, storage, hardware"),
    *("last-minute", "just-linked", "held-5s", "held-10s"),
]
"""The steps of the test of a light that has colours and fades: each different pattern, by all that it means."""
SENTENCE = "This is a test of the voice."


class Machine:
    """Runs the verb with settings, folders and standard input of its own."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.patch = patch
        self.capsys = capsys
        self.err = ""

    def run(self, *words: str, settings: str = "", stdin: str = "") -> tuple[int, str]:
        path = self.folder / "config.toml"
        path.write_text(settings)
        places = {
            "--config": path,
            "--state-dir": self.folder / "state",
            "--runtime-dir": self.folder / "run",
        }
        self.patch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main(["hardware", *words, *(f"{option}={place}" for option, place in places.items())])
        out, self.err = self.capsys.readouterr()
        return code, out

    def results(self, *words: str, settings: str = "", stdin: str = "") -> tuple[int, list[dict[str, Any]]]:
        code, out = self.run("test", "--json", "--seconds=0", *words, settings=settings, stdin=stdin)
        return code, [json.loads(line) for line in out.splitlines()]

    def listed(self, settings: str) -> list[dict[str, Any]]:
        code, out = self.run("list", "--json", settings=settings)
        assert code == 0
        rows: list[dict[str, Any]] = json.loads(out)
        return rows


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(tmp_path, monkeypatch, capsys)


# ---------------------------------------------------------------------------------------------------------
# list


def test_without_a_board_list_says_so_and_how_to_choose_one(machine: Machine) -> None:
    code, out = machine.run("list")

    assert (code, out) == (0, "")
    assert "the board is 'none'" in machine.err
    assert 'board = "NAME"' in machine.err
    assert "respeaker-2mic" in machine.err
    assert machine.listed("") == []


@pytest.mark.usefixtures("stand_ins")
def test_parts_that_the_service_has_are_listed_unopened_and_not_tested(machine: Machine) -> None:
    run = machine.folder / "run"
    run.mkdir()
    with SocketWorld(run / "api.sock", permissions=Permissions(os.getgid(), os.getgid(), os.geteuid())):
        listed = machine.listed(LED_BOARD)
        code, out = machine.run("test", "--expect", settings=LED_BOARD)

    assert [(row["state"], row["problem"]) for row in listed] == [
        ("busy", "the service is using the parts")
    ] * 2
    assert (code, out) == (75, "")
    assert "the service is using the parts" in machine.err
    assert "sudo systemctl stop device-auth.socket device-auth.service" in machine.err
    assert "RPi.GPIO" not in sys.modules


@pytest.mark.usefixtures("stand_ins")
def test_list_shows_every_part_that_can_be_used_as_free(machine: Machine) -> None:
    assert machine.listed(LED_BOARD) == [
        {
            "part": "light",
            "kind": "led",
            "back_end": "rpi-gpio",
            "pins": {"pin": 27},
            "header": {"pin": 13},
            "library": {"rpi-lgpio": ""},
            "module": str(STAND_IN),
            "state": "free",
            "problem": "",
            "hint": "",
        },
        {
            "part": "button",
            "kind": "button",
            "back_end": "rpi-gpio",
            "pins": {"pin": 17},
            "header": {"pin": 11},
            "library": {"rpi-lgpio": ""},
            "module": str(STAND_IN),
            "state": "free",
            "problem": "",
            "hint": "",
        },
    ]
    assert import_module("RPi.GPIO").bench.directions == {}


def test_list_names_the_library_and_its_version(machine: Machine) -> None:
    (panel,) = machine.listed('[hardware]\npanel = {kind = "ssd1306", bus = 63}\n')

    assert list(panel["library"]) == ["luma.oled"]
    assert panel["library"]["luma.oled"][0].isdigit()
    assert panel["state"] in ("missing", "busy")


def test_list_says_what_to_install_for_a_part_whose_library_is_missing(machine: Machine) -> None:
    with not_installed():
        light, button = machine.listed('[hardware]\nboard = "respeaker-2mic"\n')

    assert (light["state"], light["library"], light["module"]) == ("missing", {}, "")
    assert light["hint"] == how_to_install("spidev")
    assert button["state"] == "missing"
    assert button["hint"].startswith(f'{how_to_install("gpiod")}; or set gpio = "rpi-gpio"')


@pytest.mark.usefixtures("stand_ins")
def test_list_names_the_file_of_the_module_that_answers(machine: Machine) -> None:
    code, out = machine.run("list", settings=LED_BOARD)

    assert code == 0
    assert f"    RPi.GPIO: {STAND_IN}" in out.splitlines()
    assert "rpi-lgpio" in out


@pytest.mark.usefixtures("stand_ins")
def test_list_shows_a_pin_that_somebody_else_has_as_busy(machine: Machine) -> None:
    import_module("RPi.GPIO").bench.busy.add(17)

    light, button = machine.listed(LED_BOARD)

    assert (light["state"], button["state"]) == ("free", "busy")
    assert button["problem"] == "GPIO17 is in use"


@pytest.mark.usefixtures("stand_ins")
def test_list_in_words_fits_80_columns_and_tells_what_is_wrong(machine: Machine) -> None:
    import_module("RPi.GPIO").bench.busy.add(23)

    code, out = machine.run(
        "list", settings='[hardware]\nboard = "generic-rgb"\ngpio = "rpi-gpio"\nvoice = {kind = "off"}\n'
    )

    lines = out.splitlines()
    assert code == 0
    assert max(len(line) for line in lines if not line.startswith("    RPi.GPIO: /")) <= 80
    column = lines[0].index("state")
    states = [line[column:] for line in lines if line.startswith(("light", "button", "voice"))]
    assert states == ["busy", "free", "off"]
    assert "    GPIO22, GPIO23, GPIO24 is in use" in lines


def test_list_shows_one_part_alone_when_asked(machine: Machine) -> None:
    code, out = machine.run("list", "--simulate", "--part=voice", "--json")

    assert code == 0
    assert [row["part"] for row in json.loads(out)] == ["voice"]


def test_a_part_that_is_not_there_is_refused_with_those_that_are(machine: Machine) -> None:
    code, _ = machine.run("test", "--simulate", "--part=laser")

    assert code == 78
    assert "no part 'laser'" in machine.err
    assert "light, button, panel, voice" in machine.err


@pytest.mark.parametrize(
    ("action", "settings"),
    [
        ("list", '[hardware]\nboard = "generic-led"\nlight = {pin = 17}\n'),
        ("test", '[hardware]\npanel = {kind = "simulated", colour = "red"}\n'),
        ("list", '[hardware]\nvoice = {kind = "simulated", quiet_hours = "night"}\n'),
    ],
)
def test_wrong_settings_are_refused(machine: Machine, action: str, settings: str) -> None:
    code, _ = machine.run(action, settings=settings)

    assert code == 78
    assert "device-auth: [hardware] " in machine.err


def test_list_names_each_pin_by_both_its_numbers_or_its_name(machine: Machine) -> None:
    settings = '[hardware]\nboard = "generic-rgb"\ngpio = "gpiod"\nbutton = {pin = "TALK"}\n'
    _, out = machine.run("list", settings=settings)

    for words in ("red 22 (15),", "green 23 (16),", "blue 24 (18)", "pin TALK  "):
        assert words in out


# ---------------------------------------------------------------------------------------------------------
# wiring


def test_wiring_shows_where_each_wire_of_a_board_goes(machine: Machine) -> None:
    code, out = machine.run("wiring", "generic-led", settings="this is no settings file")

    assert code == 0
    assert (
        out
        == """\
generic-led: One LED and a button

part      header  pin       goes to
light     13      GPIO27    330 ohm, then long leg of the LED
light     14      ground    short leg
button    11      GPIO17    contact 1 of the button, pull-up of the Pi
button    9       ground    contact 2

                          1 .  . 2
                            :  :
           button ground  9 #  . 10
           button GPIO17 11 #  . 12
            light GPIO27 13 #  # 14 light ground
"""
    )
    assert out in (ROOT / "docs" / "hardware.md").read_text()


def test_wiring_is_told_to_programs_too(machine: Machine) -> None:
    _, out = machine.run("wiring", "--json", "aiy-voice-v1", "--part=light")

    assert json.loads(out) == {
        "board": "aiy-voice-v1",
        "title": "Google AIY Voice Kit v1 (Voice HAT)",
        "wires": [
            {
                "part": "light",
                "header": 22,
                "signal": "GPIO25",
                "end": "LED, lit if high",
                "is_fitted": True,
            }
        ],
    }


def test_wiring_without_a_board_is_that_of_this_speaker(machine: Machine) -> None:
    _, out = machine.run("wiring", settings='[hardware]\nboard = "generic-led"\nlight = {pin = 4}\n')

    assert "light     7       GPIO4     330 ohm" in out


@pytest.mark.parametrize("board", BOARDS)
def test_the_wiring_of_every_board_fits_a_screen_of_80_columns_and_24_rows(
    machine: Machine, board: str
) -> None:
    code, out = machine.run("wiring", board)

    assert code == (78 if board == "kernel-led" else 0)
    assert max((len(line) for line in out.splitlines()), default=0) <= 80
    assert len(out.splitlines()) <= 22, "the command stands above it, and the prompt below"
    assert bool(out) is (board not in ("kernel-led", "simulated"))


# ---------------------------------------------------------------------------------------------------------
# test, as a command


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("board", [name for name in BOARDS if name != "kernel-led"])
def test_the_parts_of_every_board_pass_as_simulated_ones(machine: Machine, board: str) -> None:
    settings = f'[hardware]\nboard = "{board}"\ngpio = "simulated"\n'
    code, results = machine.results("--expect", settings=settings, stdin="yes\n" * 20)

    assert code == 0
    assert {result["part"] for result in results} >= {"button"}
    assert all(result["ok"] for result in results)


@pytest.mark.usefixtures("stand_ins")
def test_before_a_part_is_tested_its_pins_are_named(machine: Machine) -> None:
    machine.results("--expect", "--part=light", settings=LED_BOARD)

    assert "light: pin GPIO27 (header 13)" in machine.err


def test_a_simulated_speaker_tests_itself_in_a_moment_and_asks_nothing(machine: Machine) -> None:
    code, results = machine.results("--simulate")

    assert code == 0
    assert [(result["part"], result["step"]) for result in results] == [
        *(("light", name) for name in NAMES),
        ("button", "tap"),
        ("button", "hold-5s"),
        ("panel", "qr-code"),
        ("voice", "sentence"),
    ]
    assert all(result["ok"] and result["seen"] == result["expected"] for result in results)
    assert machine.err == ""


def test_in_words_each_result_is_a_line_that_fits_80_columns(machine: Machine) -> None:
    code, out = machine.run("test", "--simulate", "--expect", "--part=panel", stdin="nothing but snow\n")

    assert code == 72
    assert out == f"WRONG  panel    qr-code: {QR_TEXT}; but: nothing but snow\n"


def test_a_rig_answers_each_question_with_a_line(machine: Machine) -> None:
    answers = "yes\n" * len(NAMES) + json.dumps({"part": "panel", "step": "qr-code", "seen": QR_TEXT}) + "\n"

    code, results = machine.results("--simulate", "--expect", stdin=f"{answers}{SENTENCE.upper()}\n")

    assert code == 0
    assert all(result["ok"] for result in results)
    assert f"panel, qr-code: {QR_TEXT}" in machine.err


def test_one_wrong_answer_fails_the_test_and_the_rest_goes_on(machine: Machine) -> None:
    answers = ["yes"] * len(NAMES)
    answers[2] = "purple"

    code, results = machine.results("--simulate", "--expect", "--part=light", stdin="\n".join(answers) + "\n")

    assert code == 72
    assert [result["seen"] for result in results if not result["ok"]] == ["purple"]
    assert len(results) == len(NAMES)


def test_when_the_answers_end_the_test_ends_and_has_failed(machine: Machine) -> None:
    code, results = machine.results("--simulate", "--expect", stdin="yes\n")

    assert code == 72
    assert [(result["step"], result["ok"]) for result in results] == [(NAMES[0], True), (NAMES[1], False)]
    assert results[1]["seen"] == "no answer"


def test_nothing_to_test_is_no_success(machine: Machine) -> None:
    code, _ = machine.run("test", settings='[hardware]\nvoice = {kind = "off"}\n')

    assert code == 78
    assert "nothing to test" in machine.err


@pytest.mark.usefixtures("stand_ins")
def test_real_parts_are_not_tested_when_nobody_can_look(machine: Machine) -> None:
    code, _ = machine.run("test", settings=LED_BOARD)

    assert code == 78
    assert "--expect" in machine.err
    assert import_module("RPi.GPIO").bench.written == []


def test_real_parts_are_not_tested_without_standard_input(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.folder / "config.toml").write_text(LED_BOARD)
    monkeypatch.setattr(sys, "stdin", None)

    code = main(["hardware", "test", f"--config={machine.folder}/config.toml"])

    assert code == 78


@pytest.mark.usefixtures("stand_ins")
def test_a_real_light_is_let_go(machine: Machine) -> None:
    code, results = machine.results("--expect", "--part=light", settings=LED_BOARD, stdin="yes\nno\n")

    bench = import_module("RPi.GPIO").bench
    assert code == 72
    assert [result["seen"] for result in results] == ["flashing now and then", NOT_AS_EXPECTED, "no answer"]
    assert {(0,), (1,)} <= set(bench.written)
    assert bench.directions == {}


def test_a_missing_part_fails_and_the_rest_are_tested(machine: Machine) -> None:
    settings = f'{LED_BOARD}panel = {{kind = "simulated", height = 32}}\n'
    with not_installed():
        code, results = machine.results("--expect", settings=settings, stdin="yes\n")

    assert code == 72
    assert [(result["part"], result["step"], result["ok"]) for result in results] == [
        ("light", "open", False),
        ("button", "open", False),
        ("panel", "text", True),
    ]
    assert "RPi.GPIO is not installed" in results[0]["seen"]
    assert how_to_install("rpi-lgpio") in " ".join(machine.err.split())


@pytest.mark.parametrize("seconds", ["1.5", "-1", "99999"])
def test_only_whole_seconds_are_taken(machine: Machine, seconds: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        machine.run("test", f"--seconds={seconds}")


# ---------------------------------------------------------------------------------------------------------
# test, part by part


class Press:
    """The time of a part whose button is pressed while it passes: seconds from the first wait on, pressed or not."""

    def __init__(self, touch: Callable[[bool], None], script: Sequence[tuple[float, bool]]) -> None:
        self._time = SimulatedTime()
        self.clock = self._time.clock
        self._touch = touch
        self._left = list(script)
        self._alarm = self.clock.alarm(self._next)
        self._alarm.set(self._left[0][0])
        self.wait = self._time.wait
        self.close = self._time.close

    def _next(self) -> None:
        self._touch(self._left.pop(0)[1])
        if self._left:
            self._alarm.set(self._left[0][0])


def results_of(
    settings: Settings, operator: Operator | None = None, patterns: Table = TABLE, **given: Any
) -> list[StepResult]:
    plan, results = read_plan(settings), list[StepResult]()
    PartsTest(plan, patterns, operator, read_wording("en"), results.append, **given).run(plan.parts)
    return results


class TrustingRig:
    """Is content with everything."""

    is_rig = True
    needs_time = True

    def ask(self, part: str, step: str, expected: str) -> None:
        pass

    def answer(self, part: str, step: str, expected: str) -> str:  # noqa: ARG002 - an Operator's signature
        return expected


class WatchingRig(TrustingRig):
    """Watches the LED from each question to its answer: when it changed, in seconds from the question."""

    def __init__(self, time: SimulatedTime) -> None:
        self.clock = time.clock
        self.bench = import_module("RPi.GPIO").bench
        self.seen: dict[str, list[tuple[float, bool]]] = {}
        self.lasted: dict[str, float] = {}

    def ask(self, part: str, step: str, expected: str) -> None:  # noqa: ARG002 - an Operator's signature
        self.step, self.since = step, self.clock.now()
        self.seen[step] = []
        self.look()

    def look(self) -> None:
        if not self.seen[self.step] or self.seen[self.step][-1][1] != self.is_lit:
            self.seen[self.step].append((round(self.clock.now() - self.since, 2), self.is_lit))

    @property
    def is_lit(self) -> bool:
        return bool(self.bench.latches[27])

    def answer(self, part: str, step: str, expected: str) -> str:
        self.lasted[step] = round(self.clock.now() - self.since, 2)
        return super().answer(part, step, expected)


class WatchedTime(SimulatedTime):
    """Time that passes under the eyes of a rig."""

    rig: WatchingRig

    def wait(self, inbox: Any, seconds: float) -> Any:
        for _ in range(round(seconds / 0.05)):
            super().wait(inbox, 0.05)
            self.rig.look()


def watched(**given: Any) -> WatchingRig:
    time = WatchedTime()
    time.rig = WatchingRig(time)
    results = results_of(LED_ALONE, time.rig, time_for=lambda _: time, **given)
    assert [result.step for result in results if not result.is_ok] == []
    return time.rig


@pytest.mark.usefixtures("stand_ins")
def test_each_different_pattern_is_shown_once_from_its_beginning_and_for_its_period() -> None:
    rig = watched()

    assert rig.lasted == {
        "starting": 3,
        "unlinked, linked": 1,
        "requesting, saving, proving, held-10s": 1,  # differs by its colour alone, which this LED has not
        "waiting": 2,
        "no-network, captive-portal, clock-not-set, provider-unavailable": 2.75,
        "denied, expired": 3.25,
        "revoked, copied": 4.75,
        "misconfigured, storage, hardware": 5.25,
        "last-minute": 1,
        "just-linked, held-5s": 1,
    }
    assert rig.seen["starting"] == [(0, True), (0.1, False)]
    assert rig.seen["revoked, copied"][:3] == [(0, True), (0.25, False), (0.5, True)]
    assert all(seen[0][1] for step, seen in rig.seen.items() if step != "unlinked, linked")


@pytest.mark.usefixtures("stand_ins")
def test_a_rig_may_ask_for_more_than_a_period() -> None:
    rig = watched(seconds=4.0)

    assert min(rig.lasted.values()) == rig.lasted["starting"] == 4
    assert rig.lasted["misconfigured, storage, hardware"] == 5.25
    assert sum(is_lit for _, is_lit in rig.seen["starting"]) == 2


@pytest.mark.usefixtures("stand_ins")
def test_patterns_that_only_colours_tell_apart_are_two_where_there_are_colours() -> None:
    rgb = read_plan({"board": "generic-rgb", "gpio": "rpi-gpio"})

    assert list(different_patterns(TABLE, rgb.parts[0], is_white=False)) == NAMES
    assert "just-linked, held-5s" in different_patterns(TABLE, rgb.parts[0], is_white=True)


def pressed(*script: tuple[float, bool]) -> list[tuple[str, str]]:
    """Test the button of a generic board that is pressed like this."""
    bench = import_module("RPi.GPIO").bench

    def touch(is_pressed: bool) -> None:
        bench.driven[17] = int(not is_pressed)

    results = results_of(BUTTON_ALONE, time_for=lambda _: Press(touch, script))
    assert bench.directions == {}
    return [(result.expected, result.seen) for result in results]


@pytest.mark.usefixtures("stand_ins")
def test_a_button_is_asked_for_a_tap_and_a_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert pressed((0.5, True), (0.8, False), (3, True), (8.5, False)) == [
        ("tap", "tap"),
        ("hold-5s", "hold-5s"),
    ]
    asked = capsys.readouterr().err
    assert "button, tap: Press the button" in asked
    assert asked.endswith("Let go now.\n")


@pytest.mark.usefixtures("stand_ins")
def test_a_button_that_is_tapped_instead_of_held_has_failed() -> None:
    assert pressed((0.5, True), (0.8, False), (3, True), (3.2, False))[1] == ("hold-5s", "tap")


@pytest.mark.usefixtures("stand_ins")
def test_a_button_that_is_held_for_ten_seconds_was_held_too_long() -> None:
    assert pressed((0.5, True), (0.8, False), (3, True), (14, False))[1] == ("hold-5s", "hold-10s")


@pytest.mark.usefixtures("stand_ins")
def test_a_button_that_nobody_presses_shows_nothing() -> None:
    assert pressed((70, True)) == [("tap", "nothing"), ("hold-5s", "nothing")]


@pytest.mark.usefixtures("stand_ins")
def test_a_button_that_cannot_be_read_any_more_has_failed() -> None:
    bench = import_module("RPi.GPIO").bench

    results = results_of(
        BUTTON_ALONE,
        time_for=lambda _: Press(lambda _: bench.broken.add(17), [(0.5, True)]),
    )

    assert [(result.step, result.is_ok) for result in results] == [("tap", False)]
    assert "cannot use GPIO17" in results[0].seen


@pytest.mark.usefixtures("stand_ins")
def test_a_light_that_fails_is_shown_no_further_patterns_and_is_let_go() -> None:
    bench = import_module("RPi.GPIO").bench

    class Breaks(SimulatedTime):
        def wait(self, inbox: Any, seconds: float) -> Any:
            bench.broken.add(27)
            return super().wait(inbox, seconds)

    results = results_of(LED_ALONE, TrustingRig(), time_for=lambda _: Breaks())

    assert [(result.step, result.is_ok) for result in results] == [
        (NAMES[0], True),
        (NAMES[1], False),
        ("close", False),
    ]
    assert bench.directions == {}


@pytest.fixture
def stuck_led(tmp_path: Path) -> Iterator[Settings]:
    """A kernel LED whose file never answers: whoever opens it waits for a writer."""
    (tmp_path / "status").mkdir()
    os.mkfifo(tmp_path / "status" / "trigger")
    yield {"light": {"kind": "kernel", "name": "status", "directory": str(tmp_path)}}
    # lets go of the thread that waits
    os.close(os.open(tmp_path / "status" / "trigger", os.O_RDWR | os.O_NONBLOCK))


def test_a_part_that_hangs_when_it_is_opened_fails_in_time(stuck_led: Settings) -> None:
    parts = {**stuck_led, "button": "off", "voice": {"kind": "simulated"}}

    results = given_time(
        lambda seconds: results_of(parts, limit=seconds), lambda results: results[-1].is_ok, 0.2
    )

    assert [(result.part, result.step, result.is_ok) for result in results] == [
        ("light", "open", False),
        ("voice", "sentence", True),
    ]
    assert "the part hangs" in results[0].seen


def test_a_voice_that_hangs_fails_in_time_and_its_program_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec > {tmp_path}/alive; echo here; exec sleep 1000"

    voice = {"voice": {"kind": "command", "command": ["sh", "-c", script]}}

    results = given_time(
        lambda seconds: results_of(voice, limit=seconds),
        lambda _: select([alive], [], [], 0)[0] and os.read(alive, 100) == b"here\n",
    )

    assert [(result.step, result.is_ok) for result in results] == [("sentence", False)]
    assert select([alive], [], [], LONG)[0]
    assert os.read(alive, 100) == b""  # nobody has it open any more
    os.close(alive)


def test_a_panel_that_has_no_room_for_a_qr_code_shows_the_text() -> None:
    results = results_of({"panel": {"kind": "simulated", "height": 32}})

    assert [(result.step, result.seen) for result in results] == [("text", "TEST")]


def test_a_panel_on_which_nothing_can_be_read_says_why() -> None:
    ours, theirs = os.openpty()
    panel = {"kind": "console", "device": os.ttyname(theirs), "columns": 3, "rows": 1}

    results = results_of({"panel": panel})

    assert [(result.step, result.seen) for result in results] == [
        ("text", "the text does not fit 3 × 1 characters")
    ]
    os.close(ours)
    os.close(theirs)


def test_real_time_waits_no_longer_than_asked() -> None:
    time, inbox = RealTime(), SimpleQueue[str]()
    assert time.wait(inbox, 0.01) is None
    inbox.put("news")
    assert time.wait(inbox, 10) == "news"
    time.close()


# ---------------------------------------------------------------------------------------------------------
# answers


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("yes", "red"),
        ("Y", "red"),
        ("RED", "red"),
        ("no", NOT_AS_EXPECTED),
        ("", NOT_AS_EXPECTED),
        ("blue", "blue"),
        ("\x1b[2J", "'\\x1b[2J'"),
        ('{"seen": "red"}', "red"),
        ('{"seen": true}', "red"),
        ('{"seen": false}', NOT_AS_EXPECTED),
        ('{"seen": "blue"}', "blue"),
        ("{}", NOT_AS_EXPECTED),
        ('{"part": "light", "step": "on", "seen": "yes"}', "red"),
        ('{"part": "light", "step": "off", "seen": "yes"}', "the answer is for light, off"),
        ('{"step": "also", "seen": "yes"}', "red"),
        ('{"step": "als", "seen": "yes"}', "the answer is for light, als"),
        ("{broken", "not JSON: {broken"),
        ("{" * 2000, "not JSON: " + "{" * 2000),
    ],
)
def test_a_rigs_line_is_yes_no_or_what_was_seen(line: str, seen: str) -> None:
    assert read_answer(line, "light", "on, also", "red") == seen


def test_a_person_is_asked_until_the_answer_is_yes_or_no() -> None:
    questions = io.StringIO()
    person = PersonAtTerminal(io.StringIO("\nperhaps\nY\nno\n"), questions)

    person.ask("light", "on", "red")

    assert person.answer("light", "on", "red") == "red"
    assert person.answer("light", "off", "dark") == NOT_AS_EXPECTED
    assert questions.getvalue().count("[y/n]") == 4
    assert questions.getvalue().startswith("light, on: red\n")


@pytest.mark.parametrize(
    ("kind", "back_end", "words"),
    [
        ("rgb", "simulated", "orange, breathing"),
        ("rgb", "rpi-gpio", "orange, blinking"),
        ("apa102", "spidev", "orange, breathing"),
        ("led", "gpiod", "blinking"),
        ("kernel", "kernel", "breathing, or blinking if it cannot"),
    ],
)
def test_a_pattern_is_told_as_this_light_can_show_it(kind: str, back_end: str, words: str) -> None:
    part = PlannedPart(name="light", kind=kind, back_end=back_end)

    assert in_words(Breathe(1000, 1000, ORANGE), part, is_white=False) == words
    assert in_words(Off(), part, is_white=True) == "dark"


def test_where_every_pattern_is_white_no_other_colour_is_asked_for() -> None:
    part = PlannedPart(name="light", kind="rgb", back_end="gpiod")

    assert in_words(Solid(ORANGE), part, is_white=True) == "white, steady"
