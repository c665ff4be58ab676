"""The panel: the code while there is one, a word for a while, and darkness otherwise."""

from dataclasses import replace

import pytest

from device_auth.core.errors import DeviceAuthError
from device_auth.core.models import View
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.panel import TRY_AGAIN_AFTER, WORD_STAYS_FOR, PanelPrompt, without_accents
from device_auth.prompts.view_changes import JUST_LINKED_FOR
from device_auth.prompts.wording import LANGUAGES, VARIANTS, read_wording
from hardware.errors import PartBusy, PartMissing
from hardware.panel import Matrix, Picture, Shown
from hardware.simulated import SimulatedPanel
from tests.code_views import EXPIRED, LINKED, REQUESTING, SAVING, code_pair, waiting
from tests.values import moment

BIG, SMALL = 33, 29


def square(side: int) -> Matrix:
    return ((True,) * side,) * side


class Bench:
    """A panel prompt on a simulated panel, with QR codes of sizes the test chooses."""

    def __init__(
        self, *, height: int = 64, side_m: int = SMALL, side_l: int = SMALL, language: str = "en"
    ) -> None:
        self.sides = {"M": side_m, "L": side_l}
        self.drawn: list[tuple[str, str]] = []
        self.pictures: list[Picture | None] = []
        self.panel = SimulatedPanel(height=height, watch=lambda picture, _: self.pictures.append(picture))
        self.prompt = PanelPrompt(self.panel, read_wording(language), draw_code=self.draw)

    def draw(self, text: str, level: str) -> Matrix:
        self.drawn.append((text, level))
        return square(self.sides[level])

    @property
    def text(self) -> str:
        layout = self.panel.layout
        return "" if layout is None else " ".join(line.text for line in layout.lines)


def test_a_code_is_shown_with_its_qr_code_and_the_time_left() -> None:
    bench = Bench()

    again = bench.prompt.show(waiting(), moment(18.5))

    assert again == moment(19)
    assert bench.text == "AAY JHL 9:42"
    assert bench.drawn == [("https://amazon.com/us/code?cbl-code=AAYJHL", "M")]
    assert bench.panel.layout is not None
    assert bench.panel.layout.square is not None


def test_the_time_left_counts_down_each_second_with_the_same_qr_code() -> None:
    bench = Bench()
    now = moment(597)
    shown = []
    while (again := bench.prompt.show(waiting(), now)) is not None:
        shown.append(bench.text)
        now = again

    assert [*shown, bench.text] == ["AAY JHL 0:03", "AAY JHL 0:02", "AAY JHL 0:01", "AAY JHL 0:00"]
    assert len(bench.drawn) == 1


def test_what_draws_is_loaded_after_the_word_while_the_code_is_requested() -> None:
    bench = Bench()
    bench.prompt.show(LINKED, moment(0))
    assert bench.drawn == []

    bench.prompt.show(REQUESTING, moment(1))

    assert bench.drawn == [("", "M")]
    assert bench.text


def test_a_new_code_gets_a_new_qr_code() -> None:
    bench = Bench()
    bench.prompt.show(waiting(), moment(0))
    bench.prompt.show(waiting(code_pair("NEWONE", prefilled=None)), moment(1))

    assert bench.text.startswith("NEW ONE")
    assert bench.drawn[-1] == ("https://amazon.com/us/code", "M")


def test_less_correction_is_taken_only_where_the_better_does_not_fit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench(side_m=BIG)
    bench.prompt.show(waiting(), moment(0))

    assert [level for _, level in bench.drawn] == ["M", "L"]
    assert bench.panel.layout is not None
    assert bench.panel.layout.square is not None
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("bench", "why"),
    [
        (Bench(side_m=BIG, side_l=BIG), "a QR code of 33 modules does not fit 64 pixels"),
        (Bench(height=32), "a QR code of 29 modules does not fit 32 pixels"),
    ],
)
def test_a_qr_code_that_does_not_fit_is_said_once_and_the_code_is_shown(
    bench: Bench, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.prompt.show(waiting(), moment(0))
    bench.prompt.show(waiting(), moment(1))

    assert caplog.messages == [f"the panel: {why}"]
    assert "AAYJHL" in bench.text


def test_a_qr_code_that_cannot_be_made_is_said_and_the_code_is_shown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()

    def fail(text: str, level: str) -> Matrix:
        raise DeviceAuthError(f"cannot draw {len(text)} at {level}")

    prompt = PanelPrompt(bench.panel, read_wording("en"), draw_code=fail)
    prompt.show(waiting(), moment(0))

    assert caplog.messages == ["the panel: cannot draw 42 at M"]
    assert "AAYJHL" in bench.text


def test_a_code_that_no_panel_can_draw_is_said_without_the_code(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.prompt.show(waiting(code_pair("ЖЖЖ")), moment(0))

    assert caplog.messages == ["the panel: the text has characters this panel cannot draw"]


@pytest.mark.parametrize("language", [*LANGUAGES, *VARIANTS])
def test_every_state_and_trouble_has_a_word_that_fits_the_smallest_panel(
    language: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(height=32, language=language)
    states = [View(word, Trouble.NONE) for word in StateWord if word is not StateWord.WAITING]
    states.append(replace(LINKED, doubt="/run/x is in memory."))
    troubles = [View(StateWord.UNLINKED, trouble) for trouble in Trouble if trouble is not Trouble.NONE]
    told = set()
    for view in (*states, *troubles):
        bench.prompt.show(view, moment(0))
        told.add(bench.text)

    assert len(told) == len(states) + len(troubles)
    assert all(text.isascii() and text for text in told)
    assert caplog.messages == []


def test_an_accent_is_left_out_only_where_it_must_be() -> None:
    assert without_accents("Código caducado: à espera") == "Codigo caducado: a espera"


def test_a_trouble_comes_before_the_state() -> None:
    bench = Bench()
    bench.prompt.show(View(StateWord.REQUESTING, Trouble.NO_NETWORK), moment(0))

    assert bench.text == "No network"


def test_a_new_link_is_told_briefly_and_then_the_panel_is_dark() -> None:
    bench = Bench()
    bench.prompt.show(waiting(), moment(0))
    bench.prompt.show(SAVING, moment(1))
    until = bench.prompt.show(LINKED, moment(2))
    told = bench.text

    assert (told, until) == ("Linked", 2 + JUST_LINKED_FOR)
    assert bench.prompt.show(LINKED, moment(7)) is None
    assert bench.panel.layout is None


def test_the_account_is_named_beside_the_word_where_both_fit() -> None:
    bench = Bench()
    bench.prompt.show(replace(LINKED, account="Zoë", account_id="amzn1.account.Z"), moment(0))
    named = bench.text
    small = Bench(height=32)
    small.prompt.show(replace(LINKED, account="W" * 64, account_id="amzn1.account.Z"), moment(1))

    assert named in {"Linked: Zoë", "Linked: Zoe"}
    assert small.text == "Linked"


def test_an_expired_code_is_gone_at_once_and_its_word_after_a_minute() -> None:
    bench = Bench()
    expired = View(StateWord.UNLINKED, Trouble.EXPIRED, refusal=EXPIRED)
    bench.prompt.show(waiting(), moment(0))
    until = bench.prompt.show(expired, moment(600))
    told = bench.text

    assert (told, until) == ("Code expired", 600 + WORD_STAYS_FOR)
    assert bench.prompt.show(expired, moment(660)) is None
    assert bench.panel.layout is None


def test_a_tap_brings_a_word_back() -> None:
    bench = Bench()
    trouble = View(StateWord.UNLINKED, Trouble.STORAGE)
    bench.prompt.show(trouble, moment(0))
    bench.prompt.show(trouble, moment(60))
    bench.prompt.show(replace(trouble, sequence=1), moment(70))

    assert bench.text == "Cannot save"


def test_a_closed_prompt_leaves_the_panel_dark() -> None:
    bench = Bench()
    bench.prompt.show(waiting(), moment(0))
    bench.prompt.close()

    assert bench.panel.layout is None


class Broken:
    """A panel that fails as it is told."""

    def __init__(self, failure: Exception) -> None:
        self.largest_qr = 0
        self._failure = failure

    def show(self, picture: Picture) -> Shown:  # noqa: ARG002 - a Panel's signature
        raise self._failure

    def clear(self) -> None:
        raise self._failure

    def close(self) -> None:
        raise NotImplementedError("whoever opened a part closes it")


def test_a_busy_panel_is_tried_again_and_a_missing_one_is_reported() -> None:
    def prompt(failure: Exception) -> PanelPrompt:
        return PanelPrompt(Broken(failure), read_wording("en"), draw_code=lambda *_: square(SMALL))

    assert prompt(PartBusy("no answer")).show(REQUESTING, moment(1)) == 1 + TRY_AGAIN_AFTER
    with pytest.raises(PartMissing):
        prompt(PartMissing("gone")).show(waiting(), moment(0))


def test_a_link_that_may_not_last_is_linked_for_now() -> None:
    bench = Bench()
    bench.prompt.show(replace(LINKED, doubt="/run/x is in memory."), moment(0))
    told = bench.text
    bench.prompt.show(replace(LINKED, trouble=Trouble.NO_NETWORK, doubt="/run/x is in memory."), moment(1))

    assert (told, bench.text) == ("Linked for now", "No network")
