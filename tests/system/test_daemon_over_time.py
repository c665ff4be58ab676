"""What a press, a signal and time mean to the daemon: in process, with a clock that skips its waits."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.core import linking
from device_auth.core.errors import ConfigError
from device_auth.core.models import (
    Link,
    Mark,
    Refusal,
    Seconds,
    Secret,
    TokenGrant,
    UnixTime,
    hand_over,
    later,
)
from device_auth.core.states import OneTimeNotice, StateWord, Trouble
from device_auth.service.daemon import DaemonOptions
from device_auth.service.provider_client import ProviderClient
from device_auth.simulator.amazon import EVERY_CODE
from device_auth.world.store import FileStore
from device_auth.world.transport import HttpTransport
from hardware.button import Gesture
from tests.daemon_in_skipped_time import IDLE, Household, open_household
from tests.world import World, make_provider, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as world:
        yield world


@pytest.fixture
def household(world: World) -> Iterator[Household]:
    with open_household(world) as household:
        yield household


def files(world: World) -> set[str]:
    names = ("token.json", "access-token", "pending.json")
    found = {name for name in names if (world.folder / "run" / name).exists()}
    return found | {path.name for path in (world.folder / "state").glob("link.json*")}


def store_link(world: World, **changes: object) -> Link:
    """Link the speaker, as another command would, and change what is stored."""
    world.clock.plan(1.5 + world.passed, lambda: world.amazon.approve(world.amazon.pairs()[-1].user_code))
    world.link()
    with FileStore(world.folder / "state") as store:
        link = store.read()
        assert link is not None
        store.save(replace(link, **changes))  # type: ignore[arg-type]  # checked by the class
        world.token_files().withdraw()
        return link


# -- presses


def test_a_tap_asks_for_a_code_and_another_tells_it_again(household: Household) -> None:
    household.press(1)
    household.press(10)

    assert household.live(20).state is StateWord.WAITING
    assert len(household.world.codes) == 1
    assert household.last.sequence == 1


def test_without_a_press_no_code_is_asked_for(household: Household) -> None:
    household.live(100_000)

    assert household.world.amazon.pairs() == ()


def test_a_tap_on_a_linked_speaker_tells_that_it_is_linked(household: Household) -> None:
    household.link()
    household.press(100)

    assert household.live(110).state is StateWord.LINKED
    assert household.last.sequence == 1
    assert len(household.world.codes) == 1


def test_which_speaker_it_is_is_told_once_in_ten_seconds_and_aloud_only_soon_after_a_press(
    household: Household,
) -> None:
    household.press(100, Gesture.HELD_5S)
    for second in (90, 99, 101, 109, 112, 699, 710):
        household.at(second, household.daemon.identify)
    household.live(720)

    assert household.moments == [
        OneTimeNotice.IDENTIFY_SILENTLY,
        OneTimeNotice.HELD_UNLINK,
        OneTimeNotice.IDENTIFY,
        OneTimeNotice.IDENTIFY,
        OneTimeNotice.IDENTIFY,
        OneTimeNotice.IDENTIFY_SILENTLY,
    ]
    assert household.last.state is StateWord.UNLINKED


def test_a_hold_of_five_seconds_and_a_tap_unlink(household: Household) -> None:
    household.link()
    household.press(100, Gesture.HELD_5S, Gesture.HOLD_5S)
    household.press(109)

    assert household.live(130).state is StateWord.UNLINKED
    assert household.moments == [
        OneTimeNotice.HELD_UNLINK,
        OneTimeNotice.CONFIRM_UNLINK,
        OneTimeNotice.JUST_UNLINKED,
    ]
    assert files(household.world) == set()
    assert len(household.revoked) == 1


def test_a_hold_of_ten_seconds_and_a_tap_reset_and_the_unit_keeps_its_identity(household: Household) -> None:
    household.link()
    identity = household.world.folder / "state/identity.toml"
    identity.write_text('dsn = "K-0001"\n')
    household.press(100, Gesture.HELD_5S, Gesture.HELD_10S, Gesture.HOLD_10S)
    household.press(105)

    assert household.live(130).state is StateWord.UNLINKED
    assert household.moments == [
        OneTimeNotice.HELD_UNLINK,
        OneTimeNotice.HELD_RESET,
        OneTimeNotice.CONFIRM_RESET,
        OneTimeNotice.JUST_RESET,
    ]
    assert files(household.world) == set()
    assert identity.exists()
    assert len(household.revoked) == 1


def test_a_held_button_has_nothing_else_told_again(household: Household) -> None:
    household.link()
    household.press(100, Gesture.HELD_5S)
    household.live(110)

    linked, held = household.world.told[-2:]
    assert held == replace(linked, notice=OneTimeNotice.HELD_UNLINK)


@pytest.mark.parametrize("hold", [Gesture.HOLD_5S, Gesture.HOLD_10S])
def test_a_hold_without_a_tap_within_ten_seconds_changes_nothing(household: Household, hold: Gesture) -> None:
    household.link()
    household.press(100, hold)
    household.press(110.5)

    assert household.live(130).state is StateWord.LINKED
    assert household.moments[-1] is OneTimeNotice.CANCELLED
    assert files(household.world) >= {"token.json", "access-token", "link.json"}


def test_a_hold_while_a_code_is_told_discards_it_once_confirmed(household: Household) -> None:
    household.press(1)
    household.press(10, Gesture.HOLD_5S)
    household.press(12)

    assert household.live(20).state is StateWord.UNLINKED
    assert files(household.world) == set()


def test_an_expired_code_is_renewed_while_someone_is_there_and_no_longer(household: Household) -> None:
    household.press(1)

    assert (household.live(3_000).state, household.last.trouble) == IDLE
    assert len(household.world.codes) == 2
    assert Trouble.EXPIRED in household.world.troubles
    assert household.world.complaints() == []


def test_a_press_without_a_network_is_answered_at_once_and_remembered_for_two_minutes(
    household: Household,
) -> None:
    world = household.world
    household.at(0.5, lambda: world.script("codepair", {"reset": True, "times": None}))
    household.press(1)
    household.at(60, world.amazon.clear_faults)

    assert household.live(110).state is StateWord.WAITING
    told = [view for view in world.told if view.state is StateWord.REQUESTING]
    assert told[-1].trouble is not Trouble.NONE


def test_a_press_is_forgotten_after_two_minutes_without_a_network(household: Household) -> None:
    world = household.world
    household.at(0.5, lambda: world.script("codepair", {"reset": True, "times": None}))
    household.press(1)
    household.at(130, world.amazon.clear_faults)

    assert household.live(300).state is StateWord.UNLINKED
    assert world.amazon.pairs() == ()


# -- parts


def test_a_stuck_button_is_told_until_it_is_free_and_a_broken_part_still_then(household: Household) -> None:
    household.at(
        1,
        lambda: household.daemon.on_part_failure(
            "panel", Refusal(Trouble.HARDWARE, "", "no answer", "Check its wires.")
        ),
    )
    household.press(2, Gesture.STUCK)
    household.press(50, Gesture.FREED)

    assert household.live(60).trouble is Trouble.HARDWARE
    assert household.last.hint == "Check its wires."


def test_a_button_that_is_free_again_is_well(household: Household) -> None:
    household.press(2, Gesture.STUCK)
    household.press(50, Gesture.FREED)

    assert household.live(60).trouble is Trouble.NONE
    assert household.world.troubles == [Trouble.NONE, Trouble.HARDWARE, Trouble.NONE]


def test_a_speaker_that_cannot_tell_a_code_asks_for_none_but_for_who_reads_it_on_the_socket(
    household: Household,
) -> None:
    household.refusals.append(Refusal(Trouble.MISCONFIGURED, "", "mute", "Give it a voice."))
    household.press(1)
    household.at(10, household.daemon.link)

    household.live(20)
    assert household.world.states == [StateWord.UNLINKED, StateWord.REQUESTING, StateWord.WAITING]
    assert Trouble.MISCONFIGURED in household.world.troubles


# -- settings


def test_settings_that_name_no_provider_leave_the_old_ones_in_force(
    household: Household, caplog: pytest.LogCaptureFixture
) -> None:
    household.new_options += [
        ConfigError("client_id is missing", hint="Set it."),
        ConfigError("not TOML", hint="Mend it."),
    ]
    household.at(1, household.daemon.reload)
    household.at(2, household.daemon.reload)
    household.press(3)

    assert household.live(10).state is StateWord.WAITING
    assert caplog.text.count("so the old ones are kept") == 2


def test_new_settings_wait_for_the_code_in_hand(tmp_path: Path) -> None:
    with (
        open_world(tmp_path / "old") as old,
        open_world(tmp_path / "new") as new,
        open_household(old) as household,
    ):
        provider = make_provider(new.running, old.provider.dialect)
        household.new_options.append(
            DaemonOptions(ProviderClient(HttpTransport(old.clock), provider), None, 2)
        )
        household.press(1)
        household.at(5, household.daemon.reload)
        household.approve(20)
        household.press(100, Gesture.HOLD_5S)
        household.press(101)
        household.press(110)

        assert household.live(113).state is StateWord.WAITING
        assert len(old.amazon.grants()) == 1
        assert [pair.polls for pair in new.amazon.pairs()] == [1]
        assert old.complaints() == new.complaints() == []


# -- started again


def test_a_token_that_a_kill_left_is_served_at_once_and_refreshed_in_time(world: World) -> None:
    store_link(world)
    refreshes = world.amazon.grants()[0].refreshes
    now = world.passed
    with open_household(world) as household:
        kept = TokenGrant(Secret("Sim|A|kept"), None, Seconds(1030), later(world.clock.now(), Seconds(1000)))
        household.at(now + 20, lambda: seen.append((world.folder / "run" / "access-token").read_text()))
        seen: list[str] = []
        household.live(now + 1_000, kept)

        assert seen == ["Sim|A|kept"]
        assert world.amazon.grants()[0].refreshes == refreshes + 1
        assert world.told[-1].state is StateWord.LINKED


def test_a_token_of_a_speaker_without_a_link_is_taken_away(household: Household) -> None:
    run = household.world.folder / "run"
    run.mkdir()
    for name in ("token.json", "access-token"):
        (run / name).write_text("Sim|A|old")
    kept = TokenGrant(
        Secret("Sim|A|old"), None, Seconds(900), later(household.world.clock.now(), Seconds(900))
    )
    household.live(10, kept)

    assert files(household.world) == set()
    assert household.feed.look().grant is None


def test_the_first_refresh_after_a_start_is_put_off_by_chance(world: World) -> None:
    store_link(world)
    begun = world.passed
    refreshed_at: list[float] = []
    with open_household(world) as household:
        household.loop._refresh_ended = lambda _: refreshed_at.append(world.passed)
        household.live(begun + 60)

    assert [at - begun for at in refreshed_at] == [2.5]


def test_a_code_in_hand_goes_on_beside_a_revoked_link(world: World) -> None:
    store_link(world, mark=Mark.REVOKED)
    with open_household(world) as household:
        household.press(world.passed + 1)
        household.live(world.passed + 10)
        code = household.world.codes[-1]
    with open_household(world) as household:
        household.approve(world.passed + 20)

        assert household.live(world.passed + 100).state is StateWord.LINKED
    assert world.codes[-1] == code
    assert len(world.amazon.pairs()) == 2


def test_a_link_in_use_is_kept_while_a_code_for_another_is_told_again(world: World) -> None:
    store_link(world)
    with world.loop() as loop:
        loop.link(world.request(loop))
        loop.feed(replace(world.request(loop), again=True))
        loop.run(lambda: isinstance(loop.state, linking.Waiting))
    with open_household(world) as household:
        begun = world.passed

        assert household.live(begun + 30).state is StateWord.WAITING
        assert household.feed.look().grant is not None


def test_a_link_that_was_handed_over_is_told_and_a_press_links_anew(world: World) -> None:
    link = store_link(world)
    with FileStore(world.folder / "state") as store:
        store.save(hand_over(link, "json, /etc/client.json", UnixTime(1.9e9)))
    with open_household(world) as household:
        seen = []
        household.at(world.passed + 10, lambda: seen.append(household.feed.look()))
        household.at(world.passed + 20, lambda: household.daemon.on_gesture(Gesture.TAP))
        household.approve(world.passed + 30)

        assert household.live(world.passed + 100).state is StateWord.LINKED

    assert (seen[0].view.state, seen[0].view.trouble, seen[0].grant) == (*IDLE, None)
    assert seen[0].link is not None
    assert seen[0].link.handed_over_to == "json, /etc/client.json"
    stored = world.stored()
    assert stored is not None
    assert (stored.mark, stored.handed_over_to, stored.replaces) == (None, None, None)
    assert world.complaints() == []


def test_to_unlink_what_was_handed_over_takes_nothing_from_whose_it_is_now(world: World) -> None:
    link = store_link(world, revocation_endpoint="https://id.example/revoke")
    with FileStore(world.folder / "state") as store:
        store.save(hand_over(link, "json, /etc/client.json", UnixTime(1.9e9)))
    with open_household(world) as household:
        household.at(world.passed + 10, household.daemon.unlink)

        household.live(world.passed + 20)

    assert [left.revocation_endpoint for left in household.revoked] == [""]
    assert files(world) == set()


def test_a_revoked_link_is_told_kept_and_not_used(world: World) -> None:
    store_link(world)
    world.amazon.revoke(EVERY_CODE)
    with open_household(world) as household:
        told = household.live(world.passed + 100)
        news = household.feed.look()

    assert (told.state, told.trouble) == (StateWord.UNLINKED, Trouble.REVOKED)
    assert news.grant is None
    assert news.link is not None
    assert news.link.mark is Mark.REVOKED
    assert files(world) == {"link.json", "link.json.previous"}


def test_the_watchdog_is_shown_life_at_least_once_a_minute(household: Household) -> None:
    household.live(3600)

    gaps = [after - before for before, after in zip(household.lived_at, household.lived_at[1:], strict=False)]
    assert max(gaps) <= 60
    assert len(household.lived_at) <= 65


# -- many clients


def test_a_wish_for_a_longer_token_and_a_rejected_one_each_cause_a_refresh(household: Household) -> None:
    household.link()
    household.at(100, lambda: household.daemon.want_token(Seconds(3590)))

    def reject() -> None:
        grant = household.feed.look().grant
        assert grant is not None
        household.daemon.reject_token("another")
        household.daemon.reject_token(grant.access_token.reveal())

    household.at(200, reject)
    household.live(300)

    assert household.world.amazon.grants()[0].refreshes == 3


def test_a_linked_speaker_is_never_told_to_be_unlinked_at_a_start(world: World) -> None:
    store_link(world)
    world.told.clear()
    with open_household(world) as household:
        household.daemon.on_part_failure(
            "panel", Refusal(Trouble.HARDWARE, "", "no answer", "Check its wires.")
        )
        household.live(world.passed + 10)

    assert world.states == [StateWord.LINKED]


# -- a fresh process


class _Successor:
    """Counts what a fresh process makes of the service; see ``daemon.FreshStart``."""

    def __init__(self, household: Household) -> None:
        self.household = household
        self.busy_until = 0.0
        self.held_at: list[float] = []
        self.went_on_at: list[float] = []
        self.comes_meanwhile: Callable[[], None] = lambda: None

    def is_busy(self) -> bool:
        return self.household.world.passed < self.busy_until

    def hold(self) -> None:
        self.held_at.append(self.household.world.passed)
        self.comes_meanwhile()

    def go_on(self) -> None:
        self.went_on_at.append(self.household.world.passed)


@pytest.fixture
def successor(household: Household) -> _Successor:
    successor = _Successor(household)
    household.daemon._fresh_start = successor
    household.link()
    return successor


def live_to_the_end(household: Household, until: float = 300) -> bool:
    household.at(until, household.daemon.stop)
    return household.daemon.run(lambda: None)


def test_a_fresh_process_is_due_soon_after_an_unlink(household: Household, successor: _Successor) -> None:
    household.at(100, household.daemon.unlink)

    assert live_to_the_end(household)
    assert 102 <= household.world.passed < 103
    assert successor.held_at == [household.world.passed]


def test_none_is_due_without_an_unlink(household: Household, successor: _Successor) -> None:
    assert not live_to_the_end(household)
    assert successor.held_at == []


def test_the_last_words_are_waited_for_but_not_for_ever(household: Household, successor: _Successor) -> None:
    household.at(100, household.daemon.unlink)
    successor.busy_until = 110

    assert live_to_the_end(household)
    assert 110 <= household.world.passed < 111

    household.at(household.world.passed + 1, household.daemon.unlink)
    successor.busy_until = 10_000
    assert live_to_the_end(household)
    assert 170 < household.world.passed < 175


@pytest.mark.usefixtures("successor")
def test_a_new_link_is_made_first(household: Household) -> None:
    household.at(100, household.daemon.unlink)
    household.press(101)
    household.approve(120)

    assert live_to_the_end(household)
    assert household.last.state is StateWord.LINKED
    assert household.world.passed > 120


@pytest.mark.usefixtures("successor")
def test_a_question_is_answered_first(household: Household) -> None:
    household.at(100, household.daemon.unlink)
    household.press(101, Gesture.HOLD_5S)
    household.at(105, lambda: household.press(105))

    assert live_to_the_end(household)
    assert household.world.passed > 106


def test_a_request_that_comes_at_the_last_moment_is_not_lost(
    household: Household, successor: _Successor
) -> None:
    household.at(100, household.daemon.unlink)
    successor.comes_meanwhile = household.daemon.link
    household.at(110, household.daemon.cancel)

    assert live_to_the_end(household, 109) is False
    assert len(successor.went_on_at) == 1
    assert household.last.state is StateWord.WAITING
