"""Another link is asked for while one is in use: by a program, in skipped time, against the simulated Amazon."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_auth.core.models import Refusal
from device_auth.core.states import StateWord, Trouble
from device_auth.simulator.faults import Endpoint, Fault
from hardware.button import Gesture
from tests.daemon_world import Speaker, open_speaker
from tests.world import World, open_world

MUTE = Refusal(Trouble.MISCONFIGURED, "", "there is no way to tell a code", "Add one.")
WRONG_CLIENT = Fault(status=400, json=json.dumps({"error": "invalid_client"}))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as world:
        yield world


@pytest.fixture
def speaker(world: World) -> Iterator[Speaker]:
    with open_speaker(world) as speaker:
        yield speaker


def link_first(speaker: Speaker) -> list[str]:
    """Have a link made by a press; its name and its token are given once 300 s have passed."""
    clock, before = speaker.world.clock, list[str]()
    clock.plan(10, lambda: speaker.daemon.on_gesture(Gesture.TAP))
    clock.plan(20, lambda: speaker.world.amazon.approve("all"))
    clock.plan(300, lambda: before.extend((link_id(speaker), given(speaker))))
    return before


def when_again(speaker: Speaker, state: StateWord, deed: Callable[[], object]) -> None:
    """Have something done when the second link has come so far."""
    speaker.world.clock.plan(350, lambda: speaker.world.when.update({state: deed}))


def refuse_the_second(speaker: Speaker) -> None:
    world = speaker.world
    world.clock.plan(400, lambda: speaker.client.link(again=True))
    world.clock.plan(420, lambda: world.amazon.approve("all"))
    when_again(speaker, StateWord.SAVING, lambda: world.amazon.script(Endpoint.REFRESH, [WRONG_CLIENT]))


def link_id(speaker: Speaker) -> str:
    stored = speaker.world.stored()
    assert stored is not None
    assert stored.mark is None
    return stored.link_id


def given(speaker: Speaker) -> str:
    """Return the token that a client is given, which must be the one in the file."""
    token = speaker.client.token(0).access_token
    assert (speaker.world.folder / "run" / "access-token").read_text() == token
    return token


def test_the_old_token_is_given_until_the_new_link_is_proved(world: World, speaker: Speaker) -> None:
    before, tokens = link_first(speaker), list[str]()
    world.clock.plan(400, lambda: speaker.client.link(again=True))
    world.clock.plan(420, lambda: world.amazon.approve("all"))
    for state in (StateWord.REQUESTING, StateWord.WAITING, StateWord.SAVING, StateWord.PROVING):
        when_again(speaker, state, lambda: tokens.append(given(speaker)))

    speaker.run(until=500)

    assert tokens == 4 * [before[1]]
    assert given(speaker) != before[1]
    assert link_id(speaker) != before[0]
    assert world.states[-6:] == ["linked", "requesting", "waiting", "saving", "proving", "linked"]
    assert world.complaints() == []


def test_a_link_whose_proof_is_refused_gives_way_to_the_former_one(world: World, speaker: Speaker) -> None:
    before = link_first(speaker)
    refuse_the_second(speaker)

    speaker.run(until=500)

    assert (world.told[-1].state, world.told[-1].trouble) == (StateWord.LINKED, Trouble.MISCONFIGURED)
    assert [link_id(speaker), given(speaker)] == before


def test_a_former_link_is_kept_fresh_after_another_was_declined(world: World, speaker: Speaker) -> None:
    before = link_first(speaker)
    world.clock.plan(400, lambda: speaker.client.link(again=True))
    world.clock.plan(420, lambda: world.amazon.deny("all"))

    speaker.run(until=7200)

    assert link_id(speaker) == before[0]
    assert given(speaker) != before[1]


def test_without_again_a_program_is_told_that_the_speaker_is_linked(world: World, speaker: Speaker) -> None:
    link_first(speaker)
    world.clock.plan(400, speaker.client.link)

    speaker.run(until=500)

    assert world.states[-1] == StateWord.LINKED
    assert len(world.amazon.pairs()) == 1


def test_a_speaker_without_a_way_to_tell_a_code_tells_it_to_who_asked_by_the_socket(world: World) -> None:
    with open_speaker(world) as speaker:
        link_first(speaker)
        speaker.run(until=350)
    with open_speaker(world, problem=MUTE) as speaker:
        world.clock.plan(400, lambda: speaker.client.link(again=True))

        speaker.run(until=500)

        assert world.told[-1].state is StateWord.WAITING
        assert given(speaker)
