"""The voice: what is said of each view, when, and to whom in the quiet hours."""

from collections.abc import Sequence
from dataclasses import replace
from threading import Event
from threading import enumerate as threads

import pytest

from device_auth.core.models import Monotonic, View
from device_auth.core.states import OneTimeNotice, StateWord, Trouble
from device_auth.prompts.voice import CODE_EVERY, PASSES_WITHIN, PRESENCE, STILL_SPEAKING, VoicePrompt
from device_auth.prompts.wording import read_wording, waiting_words
from hardware.errors import HardwareError, PartBusy, PartMissing
from hardware.simulated import SimulatedVoice
from hardware.voice import QuietHours, Utterance, Voice
from tests.code_views import EXPIRED, LINKED, PLAIN_URI, PROVING, REQUESTING, SAVING, code_pair, waiting
from tests.values import moment
from tests.waiting import LONG

WORDING = read_wording("en")
STARTING = View(StateWord.STARTING, Trouble.NONE)
UNLINKED = View(StateWord.UNLINKED, Trouble.NONE)
REFUSED = View(StateWord.UNLINKED, Trouble.EXPIRED, refusal=EXPIRED)
CODE = [utterance.text for utterance in waiting_words(WORDING, "AAYJHL", PLAIN_URI)]
NIGHT = QuietHours(22 * 60, 7 * 60)
PASSING = [Trouble.NO_NETWORK, Trouble.CAPTIVE_PORTAL, Trouble.CLOCK_NOT_SET, Trouble.PROVIDER_UNAVAILABLE]
LASTING = [trouble for trouble in Trouble if trouble not in {Trouble.NONE, *PASSING}]


class Bench:
    """A voice prompt and what has been heard of it so far."""

    def __init__(self, voice: Voice | None = None, *, minute: int | None = 12 * 60) -> None:
        self.minute = minute
        self.simulated = SimulatedVoice()
        self.prompt = VoicePrompt(
            voice or self.simulated,
            WORDING,
            quiet_hours=NIGHT,
            local_minute=lambda: self.minute,
            speaker=lambda: "Kitchen",
        )
        self.heard_before = 0

    def show(self, view: View, now: float = 0) -> Monotonic | None:
        """Show a view and wait until all that is said at once has been said."""
        again = self.prompt.show(view, moment(now))
        settle(self.prompt)
        return again

    def hear(self) -> list[str]:
        """Return what has been said since this was last asked."""
        heard = [utterance.text for utterance in self.simulated.spoken[self.heard_before :]]
        self.heard_before = len(self.simulated.spoken)
        return heard


def settle(prompt: VoicePrompt) -> None:
    if prompt._thread is not None:
        prompt._thread.join(LONG)


def trouble_words(trouble: Trouble) -> list[str]:
    phrases = WORDING.troubles[trouble]
    return [phrases.sentence, phrases.next_step]


# -- the code ---------------------------------------------------------------------------------------------


def test_a_code_is_told_at_once_and_again_every_minute() -> None:
    bench = Bench()
    assert bench.show(waiting(), 10) == 10 + CODE_EVERY
    first = bench.hear()
    bench.show(waiting(), 69.9)
    assert bench.hear() == []
    assert bench.show(waiting(), 70) == 70 + CODE_EVERY

    assert first == CODE
    assert bench.hear() == [WORDING.moments["code-again"], *CODE]


def test_a_tap_tells_the_code_again_at_once() -> None:
    bench = Bench()
    bench.show(waiting())
    bench.hear()
    bench.show(waiting(sequence=1), 5)

    assert bench.hear() == [WORDING.moments["code-again"], *CODE]


def test_a_renewed_code_is_told_as_a_new_one() -> None:
    bench = Bench()
    bench.show(waiting())
    bench.show(REQUESTING, 600)
    bench.hear()
    bench.show(waiting(code_pair("ZZ")), 601)

    assert bench.hear()[0] == WORDING.moments["new-code"]


def test_a_code_after_an_attempt_that_ended_takes_no_others_place() -> None:
    bench = Bench()
    for view in (waiting(), REFUSED, REQUESTING):
        bench.show(view)
    bench.hear()
    bench.show(waiting(code_pair("ZZ")), 1)

    assert bench.hear()[0] == CODE[0]


def test_a_trouble_does_not_interrupt_a_code_and_is_told_behind_the_next() -> None:
    bench = Bench()
    bench.show(waiting())
    bench.hear()
    bench.show(waiting(trouble=Trouble.NO_NETWORK), 5)
    assert bench.hear() == []
    bench.show(waiting(trouble=Trouble.NO_NETWORK), 60)

    assert bench.hear() == [WORDING.moments["code-again"], *CODE, *trouble_words(Trouble.NO_NETWORK)]


# -- states and troubles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [STARTING, REQUESTING, SAVING, PROVING])
def test_a_passing_state_is_told_only_if_it_does_not_pass(view: View) -> None:
    bench = Bench()

    assert bench.show(view, 10) == 10 + PASSES_WITHIN
    assert bench.hear() == []
    assert bench.show(view, 12) is None
    assert bench.hear() == [WORDING.states[view.state]]


def test_approval_save_and_proof_in_a_moment_are_told_as_one_sentence() -> None:
    bench = Bench()
    bench.show(waiting())
    bench.hear()
    for at, view in enumerate((SAVING, PROVING, LINKED)):
        bench.show(view, 10 + at / 10)

    assert bench.hear() == [WORDING.moments["just-linked"]]


@pytest.mark.parametrize("before", [None, STARTING])
def test_a_speaker_that_starts_unlinked_says_how_to_link_it(before: View | None) -> None:
    bench = Bench()
    if before is not None:
        bench.show(before)
    bench.show(UNLINKED)

    assert bench.hear() == [WORDING.states["unlinked"]]


@pytest.mark.parametrize("before", [waiting(), REFUSED])
def test_what_was_cancelled_or_has_cleared_is_not_told(before: View) -> None:
    bench = Bench()
    bench.show(before)
    bench.hear()
    assert bench.show(UNLINKED, 1) is None

    assert bench.hear() == []


def test_a_speaker_that_starts_linked_is_silent_until_asked() -> None:
    bench = Bench()
    bench.show(STARTING)
    bench.show(LINKED)
    assert bench.hear() == []
    bench.show(replace(LINKED, sequence=1), 10)

    assert bench.hear() == [WORDING.states["linked"]]


@pytest.mark.parametrize("trouble", [*PASSING, *LASTING])
def test_a_trouble_of_somebody_who_waits_for_a_code_is_told_with_its_next_step(trouble: Trouble) -> None:
    bench = Bench()
    bench.show(View(StateWord.REQUESTING, trouble))

    assert bench.hear() == trouble_words(trouble)


@pytest.mark.parametrize("trouble", PASSING)
def test_a_passing_trouble_of_a_linked_speaker_is_told_only_when_asked(trouble: Trouble) -> None:
    bench = Bench()
    bench.show(LINKED)
    bench.show(View(StateWord.LINKED, trouble), 1)
    assert bench.hear() == []
    bench.show(View(StateWord.LINKED, trouble, sequence=1), 2)

    assert bench.hear() == trouble_words(trouble)


@pytest.mark.parametrize("trouble", LASTING)
def test_a_trouble_that_somebody_has_to_mend_is_told_once(trouble: Trouble) -> None:
    bench = Bench()
    bench.show(LINKED)
    view = View(StateWord.LINKED, trouble)
    bench.show(view, 1)
    bench.show(replace(view, hint="another"), 2)

    assert bench.hear() == trouble_words(trouble)


# -- which speaker it is ----------------------------------------------------------------------------------


def test_a_voice_says_which_speaker_it_is() -> None:
    bench = Bench()
    bench.show(LINKED)
    bench.show(replace(LINKED, notice=OneTimeNotice.IDENTIFY, sequence=1), 10)

    assert bench.hear() == ["Here I am: Kitchen."]


def test_a_light_that_shows_it_alone_interrupts_no_code() -> None:
    bench = Bench()
    bench.show(waiting())
    assert bench.hear() == CODE
    again = bench.show(replace(waiting(sequence=1), notice=OneTimeNotice.IDENTIFY_SILENTLY), 10)

    assert again == moment(CODE_EVERY)
    assert bench.hear() == []


def test_a_held_button_interrupts_no_code() -> None:
    bench = Bench()
    bench.show(waiting())
    assert bench.hear() == CODE
    again = bench.show(replace(waiting(), notice=OneTimeNotice.HELD_UNLINK), 10)

    assert again == moment(CODE_EVERY)
    assert bench.hear() == []


def test_a_visitor_of_the_page_wakes_nobody_in_the_quiet_hours() -> None:
    bench = Bench(minute=23 * 60)
    bench.show(LINKED)
    bench.show(replace(LINKED, notice=OneTimeNotice.IDENTIFY, sequence=1), 10)

    assert bench.hear() == []


# -- the quiet hours --------------------------------------------------------------------------------------


def test_in_the_quiet_hours_nothing_is_said_unasked() -> None:
    bench = Bench(minute=23 * 60)
    bench.show(UNLINKED)
    bench.show(View(StateWord.UNLINKED, Trouble.STORAGE), 1)
    bench.show(waiting(), 2)

    assert bench.hear() == []


def test_in_the_quiet_hours_a_press_is_answered_and_then_silence_returns() -> None:
    bench = Bench(minute=23 * 60)
    bench.show(UNLINKED)
    bench.show(REQUESTING, 10)
    bench.show(waiting(), 11)
    assert bench.hear() == CODE
    bench.show(waiting(), 11 + CODE_EVERY)
    assert bench.hear()
    bench.show(waiting(), 10 + PRESENCE + CODE_EVERY)
    bench.show(REFUSED, 600)

    assert bench.hear() == []


def test_in_the_quiet_hours_a_renewed_code_wakes_nobody_and_a_tap_is_answered() -> None:
    bench = Bench(minute=23 * 60)
    bench.show(waiting())
    bench.show(REQUESTING, 600)
    bench.show(waiting(code_pair("ZZ")), 601)
    assert bench.hear() == []
    bench.show(waiting(code_pair("ZZ"), sequence=1), 610)

    assert bench.hear()


def test_in_the_quiet_hours_an_approval_is_answered() -> None:
    bench = Bench(minute=0)
    bench.show(PROVING)
    bench.show(LINKED, 1)

    assert bench.hear() == [WORDING.moments["just-linked"]]


def test_without_a_clock_there_are_no_quiet_hours() -> None:
    bench = Bench(minute=None)
    bench.show(UNLINKED)

    assert bench.hear() == [WORDING.states["unlinked"]]


# -- the thread and the part ------------------------------------------------------------------------------


class Slow:
    """A voice that goes on speaking until it is stopped, or let end."""

    def __init__(self) -> None:
        self.begun = Event()
        self.end = Event()
        self.stops = 0
        self.said: list[tuple[Utterance, ...]] = []

    def say(self, utterances: Sequence[Utterance]) -> bool:
        self.said.append(tuple(utterances))
        self.begun.set()
        return self.end.wait(LONG)

    def stop(self) -> None:
        self.stops += 1
        if self.begun.is_set():
            self.end.set()

    def close(self) -> None:
        raise NotImplementedError("whoever opened a part closes it")


def test_a_new_state_stops_what_is_being_said() -> None:
    slow = Slow()
    prompt = Bench(slow).prompt
    prompt.show(waiting(), moment(0))
    slow.begun.wait(LONG)
    before = slow.stops

    prompt.show(REQUESTING, moment(1))

    assert slow.stops > before
    assert all(thread.name != "voice" for thread in threads())


def test_a_telling_that_takes_longer_than_a_minute_is_not_cut_short_by_the_next() -> None:
    slow = Slow()
    prompt = Bench(slow).prompt
    prompt.show(waiting(), moment(0))
    slow.begun.wait(LONG)

    assert prompt.show(waiting(), moment(60)) == 60 + STILL_SPEAKING
    assert len(slow.said) == 1
    slow.end.set()
    settle(prompt)
    assert prompt.show(waiting(), moment(70)) == 70 + CODE_EVERY
    prompt.close()
    assert len(slow.said) == 2


class Late:
    """A voice whose first speech begins only after it was told to stop."""

    def __init__(self) -> None:
        self.stopped = Event()
        self.inner = SimulatedVoice()
        self.is_whole: list[bool] = []

    def say(self, utterances: Sequence[Utterance]) -> bool:
        self.stopped.wait(LONG)
        paced = SimulatedVoice(seconds_a_character=1)
        self.inner = paced
        self.is_whole.append(paced.say(utterances))
        return self.is_whole[-1]

    def stop(self) -> None:
        self.inner.stop()
        self.stopped.set()

    def close(self) -> None:
        raise NotImplementedError("whoever opened a part closes it")


def test_a_speech_that_had_not_yet_begun_when_it_was_stopped_is_stopped_all_the_same() -> None:
    late = Late()
    prompt = Bench(late).prompt
    prompt.show(UNLINKED, moment(0))
    late.stopped.clear()
    prompt.close()

    assert late.is_whole == [False]


class Failing:
    """A voice that fails as it is told."""

    def __init__(self, failure: HardwareError) -> None:
        self.failure = failure

    def say(self, utterances: Sequence[Utterance]) -> bool:  # noqa: ARG002 - a Voice's signature
        raise self.failure

    def stop(self) -> None:
        pass

    def close(self) -> None:
        raise NotImplementedError("whoever opened a part closes it")


def test_a_busy_voice_is_tried_again_with_the_next_telling() -> None:
    bench = Bench(Failing(PartBusy("somebody speaks")))

    assert bench.show(waiting()) == moment(CODE_EVERY)
    assert bench.show(waiting(), 60) == 60 + CODE_EVERY


def test_a_voice_that_fails_is_reported_once_and_tried_again_at_the_next_view() -> None:
    failing = Failing(PartMissing("no espeak"))
    bench = Bench(failing)
    bench.show(waiting())

    with pytest.raises(PartMissing):
        bench.show(waiting(), 60)
    assert bench.show(waiting(), 61) is None
    assert bench.show(waiting(sequence=1), 62) == 62 + CODE_EVERY


class Deaf(Slow):
    """A voice that does not stop."""

    def stop(self) -> None:
        self.stops += 1


def test_a_voice_that_does_not_stop_is_not_waited_for() -> None:
    deaf = Deaf()
    prompt = Bench(deaf).prompt
    prompt.show(waiting(), moment(0))
    deaf.begun.wait(LONG)

    prompt.close()

    assert not deaf.end.is_set()
    deaf.end.set()
    settle(prompt)


def test_the_name_of_the_account_is_told_with_the_link_and_at_a_press() -> None:
    bench = Bench()
    named = replace(LINKED, account="Anna", account_id="amzn1.account.A")
    bench.show(PROVING)
    bench.hear()
    bench.show(named)
    bench.show(replace(named, sequence=named.sequence + 1))

    assert bench.hear() == ["This speaker is linked to the account of Anna."] * 2


def test_a_user_id_is_not_spoken() -> None:
    bench = Bench()
    bench.show(PROVING)
    bench.hear()
    bench.show(replace(LINKED, account="amzn1.account.A", account_id="amzn1.account.A"))

    assert bench.hear() == [WORDING.moments["just-linked"]]


def test_a_refusal_that_is_checked_is_told_as_that() -> None:
    bench = Bench()
    bench.show(replace(PROVING, trouble=Trouble.PROVIDER_UNAVAILABLE, is_checking=True))

    assert bench.hear() == ["The account service has refused the link once. I am checking again."]


def test_a_link_that_may_not_last_is_told_so_with_the_link_and_at_a_press() -> None:
    bench = Bench()
    bench.show(PROVING)
    bench.hear()
    linked = replace(LINKED, doubt="/run/x is in memory.")
    bench.show(linked)
    bench.show(replace(linked, sequence=linked.sequence + 1))

    for_now = "After a power outage you may have to link this speaker again."
    assert bench.hear() == [WORDING.moments["just-linked"], for_now, WORDING.states["linked"], for_now]
