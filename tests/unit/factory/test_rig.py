import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import qrcode

from device_auth.core.models import NEVER, Monotonic, Seconds, later
from device_auth.factory.station.plan import OPERATOR, SlotPlan
from device_auth.factory.station.rig import CodeNotSeen, NoAnswer, rig_of
from device_auth.factory.station.transport import Halt, RunAborted, StationFailure, UnitSilent
from device_auth.factory.station.unit_run import Answerer, CodeReader
from device_auth.factory.talk import AskEvent, CodeEvent
from device_auth.world.clock import BootClock

LED = AskEvent("led", "Is it orange?", ("yes", "no"))
CODE = CodeEvent("BCDFGH", "https://amazon.com/us/code", None, 600, 5)
MakeRig = Callable[..., tuple[Answerer, CodeReader]]


@pytest.fixture
def halt() -> Iterator[Halt]:
    halt = Halt()
    yield halt
    halt.close()


@pytest.fixture
def make_rig(halt: Halt) -> MakeRig:
    def make(
        answers: str | tuple[str, ...] = "yes", camera: Path | None = None
    ) -> tuple[Answerer, CodeReader]:
        slot = SlotPlan("slot-1", "local", {}, answers, camera)
        return rig_of(
            slot, lambda slot, question, _deadline: f"{slot} {question.name}", BootClock().now, halt
        )

    return make


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def show_code(picture: Path, code: str) -> None:
    with picture.open("wb") as file:
        qrcode.make(f"https://amazon.com/us/code?cbl-code={code}").save(file)


def test_a_simulated_unit_is_told_yes(make_rig: MakeRig) -> None:
    assert make_rig("yes")[0](LED, "KS1", NEVER) == "yes"


def test_a_person_is_asked(make_rig: MakeRig) -> None:
    assert make_rig(OPERATOR)[0](LED, "KS1", NEVER) == "slot-1 led"


def test_a_program_of_the_rig_answers(make_rig: MakeRig) -> None:
    answer, _ = make_rig(
        python(
            "import sys; print('yes' if sys.argv[1:] == ['slot-1', 'KS1', 'led', 'Is it orange?'] else 'no')"
        )
    )

    assert answer(LED, "KS1", NEVER) == "yes"


@pytest.mark.parametrize(
    "program", ["print('maybe')", "raise SystemExit(3)", "pass", "print('yes'); raise SystemExit(1)"]
)
def test_a_program_that_does_not_answer_is_told(make_rig: MakeRig, program: str) -> None:
    with pytest.raises(NoAnswer, match="did not answer led with one of yes, no"):
        make_rig(python(program))[0](LED, "KS1", NEVER)


def test_a_program_that_is_not_there_is_told(make_rig: MakeRig) -> None:
    with pytest.raises(NoAnswer, match=r"no answer to led: .*nowhere"):
        make_rig(("/nowhere/look",))[0](LED, "KS1", later(BootClock().now(), Seconds(60)))


def test_a_program_has_no_more_time_than_the_step(make_rig: MakeRig) -> None:
    with pytest.raises(UnitSilent):
        make_rig(python("print('yes')"))[0](LED, "KS1", Monotonic(0))


def test_the_code_is_that_of_the_talk(make_rig: MakeRig) -> None:
    assert make_rig()[1](CODE, NEVER) == "BCDFGH"


def test_a_camera_must_see_the_code_of_the_talk(make_rig: MakeRig, tmp_path: Path) -> None:
    picture = tmp_path / "slot-1.png"
    show_code(picture, "BCDFGH")

    assert make_rig(camera=picture)[1](CODE, NEVER) == "BCDFGH"


def test_a_camera_that_sees_another_code_approves_nothing(make_rig: MakeRig, tmp_path: Path) -> None:
    picture = tmp_path / "slot-1.png"
    show_code(picture, "XXXXXX")
    soon = later(BootClock().now(), Seconds(0.05))

    with pytest.raises(CodeNotSeen, match="does not see the unit's code, only that of another one"):
        make_rig(camera=picture)[1](CODE, soon)


def test_a_camera_without_a_picture_is_told(make_rig: MakeRig, tmp_path: Path) -> None:
    with pytest.raises(StationFailure, match="cannot read the picture"):
        make_rig(camera=tmp_path / "slot-1.png")[1](CODE, NEVER)


def test_a_halt_ends_the_look_at_a_picture(make_rig: MakeRig, halt: Halt, tmp_path: Path) -> None:
    picture = tmp_path / "slot-1.png"
    show_code(picture, "XXXXXX")
    halt.set()

    with pytest.raises(RunAborted):
        make_rig(camera=picture)[1](CODE, NEVER)
