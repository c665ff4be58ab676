"""Who answers a unit's questions at a slot, and who reads its code: a program of the rig, a person, or nobody's eyes.

A program gets the slot, the DSN, the name of the question and the question as arguments, and prints the answer.
"""

from collections.abc import Callable

from device_auth.core.models import Monotonic, Seconds
from device_auth.factory.station.plan import OPERATOR, SlotPlan
from device_auth.factory.station.transport import UnitFailure, UnitSilent
from device_auth.factory.station.unit_run import Answerer, CodeReader
from device_auth.factory.talk import AskEvent, CodeEvent
from device_auth.world.programs import CannotRun, run_program

AskOperator = Callable[[str, AskEvent, Monotonic], str]
"""Asks a person about a slot, and returns the answer; raises ``UnitFailure`` if none comes by the deadline."""


class NoAnswer(UnitFailure):
    """Neither the rig nor a person has answered a unit's question."""


def rig_of(
    slot: SlotPlan, ask_operator: AskOperator, now: Callable[[], Monotonic]
) -> tuple[Answerer, CodeReader]:
    """Return who answers the questions of a slot's unit, and who reads its code.

    Args:
        slot: with its ``answers``.
        ask_operator: asks a person.
        now: reads the clock of deadlines.
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
            found = run_program(words, left)
        except CannotRun as error:
            raise NoAnswer(f"no answer to {question.name}: {error}") from error
        said = found.output.strip()
        if found.exit_code or not said or (question.answers and said not in question.answers):
            raise NoAnswer(
                f"{slot.answers[0]} ended with {found.exit_code} and did not answer {question.name}"
                f" with one of {', '.join(question.answers) or 'any text'}"
            )
        return said

    return answer, read_told_code


def read_told_code(told: CodeEvent, deadline: Monotonic) -> str:
    """Return the code that the unit has told in its talk: nobody looks at it."""
    del deadline
    return told.user_code
