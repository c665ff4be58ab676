"""What happens around a daemon that runs for years: folders go, clocks jump, lids close, buttons stick."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from device_auth.core.models import Refusal
from device_auth.core.states import StateWord, Trouble
from hardware.button import Gesture
from tests.daemon_world import Speaker, open_speaker
from tests.world import World, open_world

TEN_YEARS = 10 * 365.25 * 86_400
HOURS = 5 * 3600.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as world:
        yield world


@pytest.fixture
def speaker(world: World) -> Iterator[Speaker]:
    with open_speaker(world) as speaker:
        yield speaker


def link_by_a_press(speaker: Speaker) -> None:
    speaker.world.clock.plan(10, lambda: speaker.daemon.on_gesture(Gesture.TAP))
    speaker.world.clock.plan(20, lambda: speaker.world.amazon.approve("all"))


def suspend(speaker: Speaker) -> None:
    speaker.world.clock.moment += HOURS


def end_in_file(speaker: Speaker) -> float:
    fields = json.loads((speaker.world.folder / "run" / "token.json").read_bytes())
    return datetime.fromisoformat(fields["expires_at"]).timestamp()


# -- the folder of token files


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


def put_a_file_there(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_bytes(b"")


def open_to_all(folder: Path) -> None:
    folder.chmod(0o777)


@pytest.mark.parametrize("harm", [remove, put_a_file_there, open_to_all])
def test_a_token_folder_that_is_harmed_leaves_memory_and_socket_serving(
    world: World, harm: Callable[[Path], object]
) -> None:
    folder = world.folder / "tokens"
    given: list[str] = []
    with open_speaker(world, run_dir=folder) as speaker:
        link_by_a_press(speaker)
        world.clock.plan(200, lambda: harm(folder))
        for at in (210, 7200, 14_400):
            world.clock.plan(at, lambda: given.append(speaker.client.token().access_token))

        speaker.run(until=15_000)

        assert len(set(given)) == 3
        assert given[-1] == speaker.token
        assert world.told[-1].state is StateWord.LINKED


def test_a_token_folder_that_was_removed_is_there_again_after_a_refresh(world: World) -> None:
    folder = world.folder / "tokens"
    with open_speaker(world, run_dir=folder) as speaker:
        link_by_a_press(speaker)
        world.clock.plan(200, lambda: remove(folder))

        speaker.run(until=7200)

        assert (folder / "access-token").read_text() == speaker.token


def test_a_folder_that_takes_no_files_is_told_in_the_log(world: World) -> None:
    with open_speaker(world, run_dir=Path("/proc/self")) as speaker:
        link_by_a_press(speaker)

        speaker.run(until=300)

        assert speaker.client.token().access_token == speaker.token
        assert any("cannot write token files to " in line for line in speaker.log)


# -- clocks


@pytest.mark.parametrize("jump", [TEN_YEARS, -TEN_YEARS])
def test_a_wall_clock_that_jumps_changes_no_deadline(world: World, speaker: Speaker, jump: float) -> None:
    lifetimes: list[int] = []
    link_by_a_press(speaker)
    world.clock.plan(15, lambda: setattr(world.clock, "set_by", jump))
    world.clock.plan(1000, lambda: setattr(world.clock, "set_by", 0.0))
    world.clock.plan(1001, lambda: lifetimes.append(speaker.client.token().expires_in))
    world.clock.plan(2000, lambda: setattr(world.clock, "set_by", jump))
    world.clock.plan(2001, lambda: lifetimes.append(speaker.client.token().expires_in))

    speaker.run(until=24 * 3600)

    assert world.polls() <= 3
    assert lifetimes == pytest.approx([3600 - 971, 3600 - 1971], abs=40)
    assert 20 <= world.amazon.grants()[0].refreshes <= 50
    assert world.troubles == [Trouble.NONE]
    assert world.complaints() == []


@pytest.mark.parametrize("jump", [TEN_YEARS, -TEN_YEARS])
def test_the_token_file_names_its_end_by_the_clock_as_it_is_now(
    world: World, speaker: Speaker, jump: float
) -> None:
    link_by_a_press(speaker)
    since: list[float] = []
    world.clock.plan(400, lambda: since.append(speaker.feed.look().since))
    world.clock.plan(500, lambda: setattr(world.clock, "set_by", jump))

    speaker.run(until=600)

    grant = speaker.feed.look().grant
    assert grant is not None
    assert speaker.feed.look().since - since[0] == pytest.approx(jump, abs=2)
    assert end_in_file(speaker) == pytest.approx(
        world.clock.wall() + grant.expires_at - world.clock.now(), abs=2
    )


def test_the_token_file_is_left_alone_while_the_clock_goes_right(world: World, speaker: Speaker) -> None:
    files: list[int] = []
    link_by_a_press(speaker)
    for at in (200, 2000):
        world.clock.plan(at, lambda: files.append((world.folder / "run" / "token.json").stat().st_ino))

    speaker.run(until=2100)

    assert len(set(files)) == 1


# -- suspend


def test_a_code_that_ran_out_in_suspend_is_told_as_expired(world: World, speaker: Speaker) -> None:
    world.clock.plan(10, lambda: speaker.daemon.on_gesture(Gesture.TAP))
    world.clock.plan(50, lambda: suspend(speaker))

    speaker.run(until=50 + HOURS + 60)

    assert (world.told[-1].state, world.told[-1].trouble) == (StateWord.UNLINKED, Trouble.EXPIRED)
    assert len(world.amazon.pairs()) == 1
    assert world.complaints() == []


def test_a_token_that_ran_out_in_suspend_is_refreshed_at_once(world: World, speaker: Speaker) -> None:
    before: list[str | None] = []
    link_by_a_press(speaker)
    world.clock.plan(500, lambda: before.append(speaker.token))
    world.clock.plan(501, lambda: suspend(speaker))

    speaker.run(until=501 + HOURS + 1)

    assert speaker.token not in {None, before[0]}
    assert speaker.client.token().expires_in > 3500
    assert world.states[-1] == StateWord.LINKED


# -- the button


def test_a_stuck_button_is_told_and_everything_else_goes_on(world: World, speaker: Speaker) -> None:
    link_by_a_press(speaker)
    world.clock.plan(100, lambda: speaker.daemon.on_gesture(Gesture.STUCK))

    speaker.run(until=7200)

    assert (world.told[-1].state, world.told[-1].trouble) == (StateWord.LINKED, Trouble.HARDWARE)
    assert world.told[-1].hint.startswith("Free the button")
    assert speaker.client.token().expires_in > 60


def test_a_button_that_is_freed_takes_no_other_parts_trouble_away(world: World, speaker: Speaker) -> None:
    speaker.daemon.on_part_failure("panel", Refusal(Trouble.HARDWARE, "", "it is gone", "Plug it in."))
    world.clock.plan(10, lambda: speaker.daemon.on_gesture(Gesture.STUCK))
    world.clock.plan(50, lambda: speaker.daemon.on_gesture(Gesture.FREED))

    speaker.run(until=60)

    assert (world.told[-1].trouble, world.told[-1].hint) == (Trouble.HARDWARE, "Plug it in.")


def test_a_freed_button_is_a_button_again(world: World, speaker: Speaker) -> None:
    world.clock.plan(1, lambda: speaker.daemon.on_gesture(Gesture.STUCK))
    world.clock.plan(5, lambda: speaker.daemon.on_gesture(Gesture.FREED))
    link_by_a_press(speaker)

    speaker.run(until=300)

    assert (world.told[-1].state, world.told[-1].trouble) == (StateWord.LINKED, Trouble.NONE)
