"""``device-auth hardware enable`` and ``disable``: the board is switched on, or off, in every place by one command."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from device_auth.cli.first_settings import example_text
from device_auth.cli.output import print_json, print_line
from device_auth.core.errors import Busy, ConfigError, DeviceAuthError, WrongUse
from device_auth.core.states import Trouble
from device_auth.prompts.stderr import say, say_problem
from device_auth.world.settings import KEY_PROVIDERS
from hardware.board import NO_BOARD, board_names
from hardware.errors import HardwareError

if TYPE_CHECKING:
    from device_auth.assembly.doors import Doors
    from device_auth.tools.self_test import StepResult
    from device_auth.tools.switching import FileReport, HardwareSwitch

PLAIN: Final = KEY_PROVIDERS[-1]

BOARDS: Final = sorted({*board_names(), "kernel-led"} - {NO_BOARD})

PANEL_KINDS: Final = ("console", "sh1106", "ssd1306")
"""Those with a drop-in."""

NOT_BOOTED: Final = (
    "systemd does not run here: the files are in place, and count from the next start of the speaker on."
)

Report = Callable[["StepResult"], None]
TestParts = Callable[["Doors", Report], None]
"""Tests the parts, and reports each result; raises ConfigError where nobody can be asked."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of both."""
    parser.add_argument(
        "board",
        nargs="?",
        metavar="BOARD",
        choices=BOARDS,
        help="enable, wiring: a board of parts; kernel-led: LEDs of the kernel's that the settings name",
    )
    parser.add_argument(
        "--panel",
        metavar="KIND",
        choices=PANEL_KINDS,
        help="enable: also a panel: console, sh1106 or ssd1306",
    )
    parser.add_argument(
        "--key",
        metavar="HOLDER",
        choices=[name for name in KEY_PROVIDERS if name != PLAIN],
        help="enable: also the key that the link is sealed under, and seal it: systemd-credential, rpi-fw-crypto or key-file",
    )
    parser.add_argument(
        "--no-test", action="store_true", help="enable: do not test the parts while the service is stopped"
    )
    parser.add_argument(
        "--keep-settings",
        action="store_true",
        help="put the drop-ins in place, or take them out, and leave the settings as they are",
    )


def refuse_misplaced(args: Namespace) -> None:
    """Raise WrongUse for an argument of one action that is given to another."""
    given = {
        "BOARD": args.board is not None,
        "--panel": args.panel is not None,
        "--key": args.key is not None,
        "--no-test": args.no_test,
        "--keep-settings": args.keep_settings,
    }
    fitting = {"enable": given.keys(), "disable": {"--keep-settings"}, "wiring": {"BOARD"}}
    wrong = [name for name in given if given[name] and name not in fitting.get(args.hardware_action, ())]
    if wrong:
        raise WrongUse(f"{wrong[0]} has no meaning for: hardware {args.hardware_action}")


class _Outcome:
    """What is told at the end: lines for people as they come, or one object for programs."""

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self.exit_code = 0
        self.fields: dict[str, object] = {}

    def files(self, files: "list[FileReport]") -> None:
        """Report what became of each file."""
        self.fields["files"] = [each._asdict() for each in files]
        self.fields["changed"] = any(each.action in {"written", "removed"} for each in files)
        if not self._is_json:
            for each in files:
                print_line(f"{each.action:<9}  {each.path}")

    def note(self, text: str, hint: str = "") -> None:
        """Report what a person should know; nothing is wrong."""
        notes = self.fields.setdefault("notes", [])
        assert isinstance(notes, list)  # noqa: S101  made above
        notes.append(f"{text} {hint}".strip())
        if not self._is_json:
            say(text)
            if hint:
                say(hint, indent="  ")

    def problem(self, error: DeviceAuthError | ConfigError) -> None:
        """Report what went wrong after the files were in place."""
        self.exit_code = self.exit_code or error.exit_code
        self.fields["problem"] = {"message": str(error), "hint": error.hint}
        if not self._is_json:
            say_problem(str(error), error.hint)

    def finish(self) -> int:
        """Print the object, and return the exit code."""
        if self._is_json:
            print_json(self.fields)
        return self.exit_code


def run(
    args: Namespace, test_parts: TestParts, *, environ: Mapping[str, str], euid: int | None, root: Path
) -> int:
    """Carry out the verb and return the exit code.

    Raises:
        WrongUse: if what is named is not known.
        Busy: if this user is not root.
        ConfigError: if nothing can be changed; nothing was.
    """
    from device_auth.tools.switching import HardwareSwitch

    enables = args.hardware_action == "enable"
    if "simulate" in args:
        raise WrongUse(f"--simulate has no meaning for: hardware {args.hardware_action}")
    if (os.geteuid() if euid is None else euid) != 0:
        raise Busy(
            "permission denied: only root can change the service",
            hint=f"sudo device-auth hardware {args.hardware_action}{' BOARD' if enables else ''}",
        )
    switch = HardwareSwitch(vars(args), example_text(), environ=environ, euid=euid, root=root)
    outcome = _Outcome(is_json="json" in args)
    outcome.files(_enable(args, switch, outcome) if enables else _disable(args, switch, outcome))
    if switch.problems:
        outcome.note(
            f"The settings are not right yet: {switch.problems[0]}.", "See all: device-auth config check"
        )
    key = args.key if enables else None
    if not (outcome.fields["changed"] or switch.is_restart_due):
        outcome.note("Nothing was to be changed.")
        if key is not None and switch.is_booted:
            _seal(switch, outcome)
    elif switch.is_booted:
        _restart(switch, outcome, test_parts if enables and not args.no_test else None, seals=key is not None)
    else:
        outcome.note(NOT_BOOTED)
    return outcome.finish()


def _enable(args: Namespace, switch: "HardwareSwitch", outcome: _Outcome) -> "list[FileReport]":
    from device_auth.tools.switching import Selection

    if args.board is args.panel is args.key is None:
        raise WrongUse(
            "hardware enable needs a BOARD, a --panel or a --key",
            hint=f"Boards: {', '.join(BOARDS)}.",
        )
    outcome.fields.update(board=args.board, panel=args.panel, key=args.key)
    return switch.enable(Selection(args.board, args.panel, args.key, args.keep_settings))


def _disable(args: Namespace, switch: "HardwareSwitch", outcome: _Outcome) -> "list[FileReport]":
    outcome.fields.update(board=None if args.keep_settings else NO_BOARD)
    files = switch.disable(keeps_settings=args.keep_settings)
    if switch.kept_key is not None:
        outcome.note(
            f"The drop-in of the key stays: a stored link is, or may be, sealed under {switch.kept_key}.",
            "docs/encryption.md says how to move the link to another key, or to none.",
        )
    return files


def _restart(
    switch: "HardwareSwitch", outcome: _Outcome, test_parts: TestParts | None, *, seals: bool
) -> None:
    from device_auth.world.service_unit import SWITCH_ON

    results: list[StepResult] = []

    def test() -> None:
        if test_parts is None:
            return
        try:
            test_parts(switch.open_doors(), results.append)
        except ConfigError as error:
            outcome.note(f"The parts were not tested: {error}.", "Later: sudo device-auth hardware test")
        else:
            outcome.fields["test"] = [{**result._asdict(), "ok": result.is_ok} for result in results]

    try:
        is_served = switch.restart(test)
        if seals:
            _seal(
                switch, outcome
            )  # before it is told how the service is: beside a key, a plain link is a trouble
        status = switch.status() if is_served else None
    except DeviceAuthError as error:
        outcome.problem(error)
        return
    if not all(result.is_ok for result in results):
        outcome.exit_code = HardwareError.exit_code
    if status is None:
        outcome.note("The service is not switched on yet.", SWITCH_ON)
        return
    outcome.fields["service"] = {"state": status.state, "trouble": status.trouble, "hint": status.hint}
    has_trouble = status.trouble != Trouble.NONE
    outcome.note(
        f"The service was started again: {status.state}{f', {status.trouble}' if has_trouble else ''}.",
        status.hint,
    )
    if status.trouble == Trouble.HARDWARE:
        outcome.exit_code = HardwareError.exit_code


def _seal(switch: "HardwareSwitch", outcome: _Outcome) -> None:
    try:
        is_sealed = switch.seal()
    except DeviceAuthError as error:
        outcome.problem(error)
        return
    outcome.fields["sealed"] = is_sealed
    outcome.note(
        "The link is sealed." if is_sealed else "No link is stored yet; the first one will be sealed."
    )
