"""Who answers a unit's questions at a slot, and who reads its code: a program of the rig, a person, or nobody's eyes.

A program gets the slot, the DSN, the name of the question and the question as arguments, and prints the answer.
"""

from collections.abc import Callable
from typing import Final

from device_auth.core.models import Monotonic, Seconds
from device_auth.factory.station.camera import NoPicture, read_code
from device_auth.factory.station.plan import OPERATOR, SlotPlan
from device_auth.factory.station.transport import Halt, RunAborted, StationFailure, UnitFailure, UnitSilent
from device_auth.factory.station.unit_run import Answerer, CodeReader
from device_auth.factory.talk import AskEvent, CodeEvent
from device_auth.world.programs import CannotRun, run_program
from hardware.errors import describe_end

AskOperator = Callable[[str, AskEvent, Monotonic], str]
"""Asks a person about a slot, and returns the answer; raises ``UnitFailure`` if none comes by the deadline."""


LONGEST_LOOK: Final = Seconds(60)
"""How long a program of the rig may look at a unit; Ctrl-C does not end it before."""

_NEXT_PICTURE: Final = Seconds(0.5)
"""Seconds after which a camera has another picture."""


class CodeNotSeen(UnitFailure):
    """The unit shows no code, or another one than it has told."""


class NoAnswer(StationFailure):
    """Neither the rig nor a person has answered a unit's question."""


def rig_of(
    slot: SlotPlan, ask_operator: AskOperator, now: Callable[[], Monotonic], halt: Halt
) -> tuple[Answerer, CodeReader]:
    """Return who answers the questions of a slot's unit, and who reads its code.

    Args:
        slot: with its ``answers``.
        ask_operator: asks a person.
        now: reads the clock of deadlines.
        halt: ends every wait.
    """

    def answer(question: AskEvent, dsn: str, deadline: Monotonic) -> str:
        if slot.answers == OPERATOR:
            return ask_operator(slot.name, question, deadline)
        if isinstance(slot.answers, str):
            # a simulated unit's parts are values: there is nothing to look at
            return slot.answers
        words = (*slot.answers, slot.name, dsn, question.name, question.question)
        left = Seconds(deadline - now())
        if left <= 0:
            raise UnitSilent("the time of the step was over at a question")
        try:
            found = run_program(words, min(left, LONGEST_LOOK))
        except CannotRun as error:
            raise NoAnswer(f"no answer to {question.name}: {error}") from error
        said = found.output.strip()
        if found.exit_code or not said or (question.answers and said not in question.answers):
            raise NoAnswer(
                f"{slot.answers[0]} {describe_end(found.exit_code)} and did not answer {question.name}"
                f" with one of {', '.join(question.answers) or 'any text'}"
            )
        return said

    return answer, _reader_of(slot, now, halt)


def _reader_of(slot: SlotPlan, now: Callable[[], Monotonic], halt: Halt) -> CodeReader:
    """Return what reads the codes of a slot's unit: its camera's picture, else the talk alone."""
    camera = slot.camera
    if camera is None:
        return lambda told, _deadline: told.user_code

    def read_by_camera(told: CodeEvent, deadline: Monotonic) -> str:
        seen = ""
        while now() < deadline:
            if halt.is_set:
                raise RunAborted("the operator ended the run")
            try:
                found = read_code(camera)
            except NoPicture as error:
                raise StationFailure(f"{error}. {error.hint}") from error
            if found is not None and found.user_code == told.user_code:
                return found.user_code
            # an earlier code may still be in the picture
            seen = "" if found is None else ", only that of another one"
            halt.wait(_NEXT_PICTURE)
        raise CodeNotSeen(f"the camera does not see the unit's code{seen}")

    return read_by_camera
