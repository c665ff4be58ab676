"""Amazon's own clients, played request by request, against the simulated Amazon: they link as quickly as to the real one.

The clock skips their waits. ``make test-clients`` plays them in real time, beside clients that are installed.
"""

from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

import pytest

from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.models import Denial, Options
from device_auth.simulator.server import Running
from device_auth.simulator.testing import StartSimulatedAmazon
from tests.clients.own_clients import DeviceSdk, JavaSample, SkillsToolkit, Wire
from tests.clients.play import Refused
from tests.simulated_speaker import CLIENT_ID, Clock


class Owner:
    """Answers so many seconds after the code was shown, in the clock's time."""

    def __init__(self, running: Running, clock: Clock) -> None:
        self.amazon = running.amazon
        self.clock = clock
        self.acts: list[tuple[float, Callable[[], object]]] = []
        self.acted_at = 0.0

    def after(self, seconds: float, act: Callable[[str], int]) -> None:
        self.acts.append((self.clock.now + seconds, lambda: act("all")))

    def wait(self, seconds: float) -> None:
        until = self.clock.now + seconds
        for at, act in [each for each in self.acts if each[0] <= until]:
            self.clock.now = self.acted_at = at
            act()
        self.acts = [each for each in self.acts if each[0] > until]
        self.clock.now = until


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def running(
    start_simulated_amazon: StartSimulatedAmazon, clock: Clock, request: pytest.FixtureRequest
) -> Running:
    return start_simulated_amazon(getattr(request, "param", None), tls=True, clock=clock)


@pytest.fixture
def owner(running: Running, clock: Clock) -> Owner:
    return Owner(running, clock)


@pytest.fixture(params=[False, True], ids=["delegate", "adapter"])
def sdk(request: pytest.FixtureRequest, running: Running, owner: Owner, clock: Clock) -> DeviceSdk:
    wire = Wire(running.origin, str(running.ca_file))
    return DeviceSdk(wire, CLIENT_ID, asks_profile=request.param, wait=owner.wait, now=clock)


def complaints(running: Running) -> list[str]:
    return [f"{each.kind}: {each.sentence}" for each in running.amazon.referee.complaints()]


def notes(running: Running) -> set[str]:
    return {each.kind.value for each in running.amazon.referee.notes()}


def test_the_sdk_is_linked_at_its_next_poll_although_it_is_told_30_s(
    sdk: DeviceSdk, owner: Owner, running: Running, clock: Clock
) -> None:
    sdk.link(lambda _: owner.after(61, running.amazon.approve))

    assert clock.now - owner.acted_at == 4
    assert running.amazon.pairs()[0].interval == 30
    assert running.amazon.grants()[0].refreshes == 1
    assert complaints(running) == []
    expected = {"other-accept", "poll-below-told"}
    assert notes(running) == expected | ({"token-by-query"} if sdk.asks_profile else set())


def test_the_sdk_knows_the_account_where_it_asks_for_it(
    sdk: DeviceSdk, owner: Owner, running: Running
) -> None:
    sdk.link(lambda _: owner.after(1, running.amazon.approve))

    assert sdk.user_id == ("amzn1.account.SIMULATED00000001" if sdk.asks_profile else "")


def test_a_slow_down_costs_the_sdk_ten_seconds(
    sdk: DeviceSdk, owner: Owner, running: Running, clock: Clock
) -> None:
    running.amazon.script(Endpoint.TOKEN_POLL, [Fault(slow_down=True)])

    sdk.link(lambda _: owner.after(1, running.amazon.approve))

    assert clock.now - owner.acted_at == 9
    assert complaints(running) == []


def test_the_sdk_polls_on_after_access_denied_until_its_code_is_over(
    sdk: DeviceSdk, owner: Owner, running: Running, clock: Clock
) -> None:
    began_at = clock.now

    with pytest.raises(Refused, match="INVALID_CODE_PAIR"):
        sdk.link(lambda _: owner.after(61, running.amazon.deny))

    assert clock.now - began_at >= 600
    assert complaints(running) == []
    assert "repeated-declined-code" in notes(running)


@pytest.mark.parametrize("running", [Options(denial=Denial.INVALID_CODE_PAIR)], indirect=True)
def test_the_sdk_stops_at_once_where_a_denial_is_an_invalid_pair(
    sdk: DeviceSdk, owner: Owner, running: Running, clock: Clock
) -> None:
    with pytest.raises(Refused, match="INVALID_CODE_PAIR"):
        sdk.link(lambda _: owner.after(61, running.amazon.deny))

    assert clock.now - owner.acted_at == 4
    assert complaints(running) == []


@pytest.mark.parametrize("running", [Options(rotates=True)], indirect=True)
def test_the_sdk_follows_new_refresh_tokens_until_the_owner_ends_the_link(
    sdk: DeviceSdk, owner: Owner, running: Running
) -> None:
    sdk.link(lambda _: owner.after(1, running.amazon.approve))
    for _ in range(3):
        sdk.refresh()
    running.amazon.revoke("all")

    with pytest.raises(Refused, match="AUTHORIZATION_EXPIRED"):
        sdk.refresh()
    assert running.amazon.grants()[0].refreshes == 4
    assert complaints(running) == []


def test_the_java_sample_exchanges_and_refreshes_by_json(running: Running) -> None:
    wire = Wire(running.origin, str(running.ca_file), {"Accept": "*/*"})

    def carry(address: str) -> str:
        return running.amazon.approve_authorization(dict(parse_qsl(urlsplit(address).query)))

    sample = JavaSample(wire, CLIENT_ID, running.authorization_url, carry)
    sample.link(lambda _: None)
    sample.refresh()

    assert running.amazon.grants()[0].refreshes == 1
    assert complaints(running) == []
    assert notes(running) == {"json-body", "no-state", "other-accept"}


def test_the_skills_toolkit_polls_once_and_refreshes_with_a_secret(owner: Owner, running: Running) -> None:
    wire = Wire(running.origin, str(running.ca_file))
    toolkit = SkillsToolkit(wire, CLIENT_ID, "a-secret", wait=owner.wait)

    toolkit.link(lambda _: owner.after(1, running.amazon.approve))
    toolkit.refresh()

    assert running.amazon.grants()[0].refreshes == 1
    assert complaints(running) == []
    assert "unexpected-secret" in notes(running)
