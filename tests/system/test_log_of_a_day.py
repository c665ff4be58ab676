"""What the log tells of a whole day, and what it must not."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_auth.core.models import DialectName
from device_auth.simulator.faults import Endpoint, Fault
from hardware.button import Gesture
from tests.daemon_world import Speaker, open_speaker
from tests.world import World, open_world

DAY = 24 * 3600.0
CANARY = "canary-of-the-provider"
GOSSIP = Fault(
    status=400, json=json.dumps({"error": "invalid_grant", "error_description": CANARY, "error_uri": CANARY})
)
"""A provider that repeats what it was sent, or worse."""


@pytest.fixture(params=list(DialectName))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path, request.param) as world:
        yield world


@pytest.fixture
def lwa(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as world:
        yield world


def live_a_day(speaker: Speaker) -> None:
    """Link by a press, refuse once, serve, be revoked, be linked by a program, be unlinked by a hold."""
    world, clock = speaker.world, speaker.world.clock
    clock.plan(10, lambda: speaker.daemon.on_gesture(Gesture.TAP))
    clock.plan(50, lambda: world.amazon.deny("all"))
    clock.plan(900, lambda: speaker.daemon.on_gesture(Gesture.TAP))
    clock.plan(915, lambda: world.amazon.script(Endpoint.TOKEN_POLL, [Fault(body=f"<p>{CANARY}")]))
    clock.plan(1000, lambda: world.amazon.approve("all"))
    clock.plan(1400, speaker.client.token)
    clock.plan(1500, lambda: speaker.daemon.reject_token(speaker.client.token().access_token))
    clock.plan(9000, lambda: world.amazon.script(Endpoint.REFRESH, [GOSSIP]))
    clock.plan(DAY / 2, lambda: world.amazon.revoke("all"))
    clock.plan(DAY - 9000, speaker.client.link)
    clock.plan(DAY - 8900, lambda: world.amazon.approve("all"))
    clock.plan(DAY - 100, lambda: speaker.daemon.on_gesture(Gesture.HOLD_5S))
    clock.plan(DAY - 95, lambda: speaker.daemon.on_gesture(Gesture.TAP))
    speaker.run(until=DAY)


def test_no_code_and_no_token_is_ever_logged(world: World) -> None:
    with open_speaker(world, form="json") as speaker:
        live_a_day(speaker)

        text = "\n".join(speaker.log)

    pairs = world.amazon.pairs()
    assert len(pairs) == 3
    secrets = {code for pair in pairs for code in (pair.user_code, pair.device_code)}
    assert [secret for secret in secrets | {"Sim|", CANARY} if secret in text] == []
    assert "unlinked: the account is forgotten" in text


def test_the_log_of_a_day_is_a_line_for_each_event(lwa: World) -> None:
    with open_speaker(lwa) as speaker:
        live_a_day(speaker)

    assert [line.removeprefix("device-auth: ") for line in speaker.log[:8]] == [
        "unlinked: The speaker is not linked to an account.",
        "the button: tap",
        "requesting: The speaker is asking for a code.",
        "request for a code: a code for 600 s, polled every 30 s",
        "waiting: The speaker has a code and waits for its owner to approve.",
        "poll: not approved yet",
        "poll: refused, access_denied",
        "unlinked, denied: The request was declined.",
    ]
    assert len(speaker.log) < 100
    assert lwa.complaints() == []


def test_each_line_tells_the_state_it_was_written_in(lwa: World) -> None:
    with open_speaker(lwa, form="json") as speaker:
        live_a_day(speaker)

    lines = [json.loads(line) for line in speaker.log]
    states = [(line["state"], line["trouble"]) for line in lines if line["message"].startswith("poll:")]
    assert ("waiting", "none") in states
    refreshes = {line["state"] for line in lines if line["message"].startswith("refresh: an access token")}
    assert refreshes == {"proving", "linked"}
    assert {line["level"] for line in lines} == {"info", "warning"}
