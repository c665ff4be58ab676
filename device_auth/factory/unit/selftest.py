"""The self-test of a unit: identity, the doctor without a network, leftovers of a cloned image, and every part.

What could not be tested has failed. The service runs while the doctor looks, and is stopped while the parts are used.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.assembly.doors import Doors
from device_auth.assembly.hardware_parts import library_folder, read_hardware
from device_auth.assembly.service import PATIENCE, STOP_FIRST, is_served
from device_auth.core.errors import Busy, ConfigError
from device_auth.doctor.check_run import examine
from device_auth.doctor.examination import compose, gather_for, open_context, read_stored
from device_auth.doctor.findings import Verdict
from device_auth.factory.talk import CheckOutcome, Talk
from device_auth.factory.unit.identity import problem_of_label, read_identity
from device_auth.factory.unit.leftovers import look_for_leftovers
from device_auth.factory.unit.token_search import TokenSearch
from device_auth.factory.unit.wiping import LEFT, report_search, service_set_aside
from device_auth.prompts.stderr import say
from device_auth.prompts.wording import wording_for
from device_auth.tools.operators import read_answer
from device_auth.tools.self_test import PartsTest, StepResult
from device_auth.world.settings import IDS
from hardware.plans import PlannedPart

_GROUPS_LEFT_OUT: Final = frozenset({"L", "N"})
"""Of the doctor's checks: the link, which no unit has yet, and the network."""

_LEFT_OUT: Final = frozenset({"T2", "C9"})
"""Checks of other groups for which a provider would be asked."""

_NO_WARNING: Final = frozenset({"D11"})
"""Checks whose warning fails a unit: at an owner's a file of the package may have been changed on purpose, on the line not."""

_OUTCOMES: Final = {
    Verdict.OK: CheckOutcome.PASS,
    Verdict.WARN: CheckOutcome.PASS,
    Verdict.FAIL: CheckOutcome.FAIL,
    Verdict.SKIPPED: CheckOutcome.SKIP,
}

_TOKEN_PLACES: Final = ("etc", "root", "home", "srv")


class SelfTestOptions(NamedTuple):
    """What the station knows of the unit.

    Attributes:
        root: the root folder of the unit; None for a simulated unit that has none of its own.
        label: the DSN of its label; None if it is only in the header.
        image: SHA-256 of files of the image that no unit may have.
        has_parts: the product has parts.
    """

    root: Path | None
    label: str | None = None
    image: frozenset[str] = frozenset()
    has_parts: bool = True


def run_selftest(talk: Talk, doors: Doors, options: SelfTestOptions) -> None:
    """Make every check, each for itself: one that fails does not keep the others from being made.

    Raises:
        DeviceAuthError: if another service uses the parts, or systemd cannot stop or start this one.
    """
    _check_dsn(talk, doors, options.label)
    ask_doctor(talk, doors)
    look_at_image(talk, doors, options.root, options.image)
    with service_set_aside(doors):
        _test_parts(talk, doors, has_parts=options.has_parts)


def _check_dsn(talk: Talk, doors: Doors, label: str | None) -> None:
    """Compare the DSN of the identity with the label's, be it of the option or of the header, or both."""
    of_header = None if talk.header is None else talk.header.dsn
    labels = {each for each in (label, of_header) if each is not None}
    try:
        identity = read_identity(doors.places)
    except ConfigError as error:
        problem = str(error)
    else:
        problem = problem_of_label(identity, labels)
        if not problem and not labels:
            problem = "the DSN of the label was not given (--dsn)"
    outcome = CheckOutcome.FAIL if problem else CheckOutcome.PASS
    talk.check("dsn", outcome, problem or next(iter(labels)), exit_code=ConfigError.exit_code)


def ask_doctor(talk: Talk, doors: Doors, _root: Path | None = None) -> None:
    """Make the doctor's checks as they are, without those of the network and of a link."""
    began = doors.clock.now()
    doors = _with_identity(doors)
    context = open_context(doors, root=doors.machine)
    settings, problems = gather_for(doors, context.places)
    checks = compose(
        doors, context, settings, problems, read_stored(context), is_online=False, has_network=False
    )
    wanted = [each for each in checks if each.code[0] not in _GROUPS_LEFT_OUT and each.code not in _LEFT_OUT]
    for check, finding in examine(wanted, doors.clock):
        verdict, exit_code = finding.verdict, finding.exit_code
        if verdict is Verdict.WARN and check.code in _NO_WARNING:
            verdict, exit_code = Verdict.FAIL, ConfigError.exit_code
        warning = "warning: " if verdict is Verdict.WARN else ""
        step = f" {finding.next_step}" if verdict is Verdict.FAIL and finding.next_step else ""
        talk.check(
            f"doctor-{check.code}-{check.name}",
            _OUTCOMES[verdict],
            f"{warning}{finding.sentence}{step}",
            exit_code=exit_code,
        )
    talk.measure("doctor-seconds", round(doors.clock.now() - began, 3), "s")


def _with_identity(doors: Doors) -> Doors:
    """Return the doors of a simulated unit with its identity, which a simulation's settings leave out; else the doors."""
    identity = None
    with suppress(ConfigError):  # it has a check of its own
        identity = read_identity(doors.places) if doors.is_simulated else None
    if identity is None:
        return doors
    ids = {name: value for name in IDS if (value := getattr(identity, name))}
    return Doors({**ids, **doors.options}, doors.places)


def look_at_image(talk: Talk, doors: Doors, root: Path | None, image: frozenset[str] = frozenset()) -> None:
    """Report what is left of a cloned image, or of another use of it.

    Args:
        talk: is told each check.
        doors: of the unit.
        root: of the unit; None for a simulated unit that has none of its own.
        image: SHA-256 of files of the image that no unit may have.
    """
    if root is None:
        talk.check("image", CheckOutcome.SKIP, "this simulated unit has no root folder of its own (--root)")
        return
    for each in look_for_leftovers(root, image):
        outcome = CheckOutcome.FAIL if each.problem else CheckOutcome.PASS
        talk.check(f"image-{each.name}", outcome, each.problem or each.detail, exit_code=LEFT)
        if each.digest:
            talk.measure(f"image-{each.name}", each.digest, "SHA-256")
    search = TokenSearch(() if talk.header is None else talk.header.tokens)
    places = [root / folder for folder in _TOKEN_PLACES]
    report_search(talk, doors, search, "image-tokens", partial(_search, search, places))


def _search(search: TokenSearch, places: Sequence[Path]) -> str:
    for place in places:
        search.files_below(place)
    return ""


# ---------------------------------------------------------------------------------------------------------
# The parts


def _test_parts(talk: Talk, doors: Doors, *, has_parts: bool) -> None:
    if is_served(doors, PATIENCE):
        raise Busy("the service is using the parts", hint=STOP_FIRST)
    try:
        plan, patterns = read_hardware(doors.settings.hardware, doors.settings.hardware_of)
    except ConfigError as error:
        talk.check("parts", CheckOutcome.FAIL, str(error))
        return
    parts = tuple(part for part in plan.parts if part.kind != "off")
    if bool(parts) is not has_parts:
        reason = (
            f"this unit has parts: {', '.join(part.name for part in parts)}"
            if parts
            else f"no part is set, the board is {plan.board!r}; if this product has none: --no-parts"
        )
        talk.check("parts", CheckOutcome.FAIL, reason)
        return
    if not parts:
        talk.check("parts", CheckOutcome.SKIP, "this product has none")
        return
    tested: set[str] = set()

    def report(result: StepResult) -> None:
        tested.add(result.part)
        outcome = CheckOutcome.PASS if result.is_ok else CheckOutcome.FAIL
        detail = result.expected if result.is_ok else f"expected: {result.expected}; seen: {result.seen}"
        talk.check(_name_of(result.part, result.step), outcome, detail)

    operator = _TalkOperator(talk)
    wording = wording_for(doors.settings.locale)
    with library_folder(plan):
        PartsTest(plan, patterns, operator, wording, report, request=operator.request).run(parts)
    _report_untested(talk, parts, tested)


def _report_untested(talk: Talk, parts: Sequence[PlannedPart], tested: set[str]) -> None:
    for part in parts:
        if part.name not in tested:
            talk.check(_name_of(part.name, "test"), CheckOutcome.FAIL, "it was not tested")


def _name_of(part: str, step: str) -> str:
    """Return the name of a check, and of its question: of a pattern with several meanings, by the first."""
    return f"part-{part}-{step.partition(',')[0]}"


class _TalkOperator:
    """The rig behind a station, or the person at the terminal; what a part shows, it shows until the answer.

    Args:
        talk: of the verb.
    """

    needs_time = False

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    @property
    def is_rig(self) -> bool:
        """Return whether a station answers, for simulated parts too."""
        return self._talk.header is not None

    def request(self, part: str, gesture: str, text: str) -> None:
        """Have a button pressed: a rig answers when it has done so."""
        if self.is_rig:
            self._talk.ask(_name_of(part, gesture), f"{part}, {gesture}: {text}")
        else:
            say(f"{part}, {gesture}: {text}")

    def ask(self, part: str, step: str, expected: str) -> None:
        """Ask nothing yet: the answer comes at once with the question."""

    def answer(self, part: str, step: str, expected: str) -> str:
        """Ask, and return what was seen."""
        seen = self._talk.ask(_name_of(part, step), f"{part}, {step}: {expected}")
        return read_answer(seen, part, step, expected)
