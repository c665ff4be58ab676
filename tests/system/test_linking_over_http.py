"""The loop against the simulated Amazon, over real sockets, in skipped time."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.core import linking
from device_auth.core.errors import StoreError
from device_auth.core.models import DialectName, Mark, Monotonic, Seconds
from device_auth.core.policy import CALL_BOUND
from device_auth.core.states import StateWord, Trouble
from device_auth.world.store import FileStore
from tests.waiting import wait_for
from tests.world import World, is_over, open_loop, open_world

WEEK = 7 * 24 * 3600


@pytest.fixture(params=list(DialectName))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path, request.param) as world:
        yield world


@pytest.fixture
def lwa(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as world:
        yield world


def approve_soon(world: World) -> None:
    world.clock.plan(world.passed + 1, lambda: world.amazon.approve("all"))


def test_an_owner_who_takes_93_seconds_is_linked_within_five_though_thirty_are_told(lwa: World) -> None:
    lwa.clock.plan(93, lambda: lwa.amazon.approve("all"))

    assert lwa.link() == linking.Linked()
    assert lwa.polls() == 20
    assert lwa.passed == 95
    assert {pair.interval for pair in lwa.amazon.pairs()} == {30}
    assert lwa.states == [
        StateWord.REQUESTING,
        StateWord.WAITING,
        StateWord.SAVING,
        StateWord.PROVING,
        StateWord.LINKED,
    ]
    assert lwa.complaints() == []


def test_a_press_is_told_and_asks_for_a_code_while_a_slow_disk_is_proved(world: World) -> None:
    class SlowStore(FileStore):
        def prove_writable(self) -> None:
            told.extend(world.states)
            wait_for(world.amazon.pairs)
            super().prove_writable()

    told: list[StateWord] = []
    with open_loop(world.folder, world.clock, world.provider, world.tell, make_store=SlowStore) as loop:
        loop.link(world.request(loop))
        loop.run(lambda: bool(world.codes))

    assert told == [StateWord.REQUESTING]
    assert len(world.codes) == len(world.amazon.pairs()) == 1


def test_a_code_that_came_while_a_disk_was_proved_for_long_is_shown(world: World) -> None:
    class SlowStore(FileStore):
        def prove_writable(self) -> None:
            wait_for(lambda: not loop._inbox.empty())
            world.clock.moment += CALL_BOUND + 1
            super().prove_writable()

    with open_loop(world.folder, world.clock, world.provider, world.tell, make_store=SlowStore) as loop:
        loop.resume(world.request(loop))
        loop.post(world.request(loop))
        loop.run(lambda: bool(world.codes))

    assert len(world.codes) == len(world.amazon.pairs()) == 1


def test_a_code_for_a_disk_that_cannot_store_a_link_is_shown_to_nobody(world: World) -> None:
    class FullStore(FileStore):
        def prove_writable(self) -> None:
            wait_for(world.amazon.pairs)
            raise StoreError("the disk is full")

    with open_loop(world.folder, world.clock, world.provider, world.tell, make_store=FullStore) as loop:
        loop.link(world.request(loop))
        loop.run(lambda: not loop.is_request_out)

    assert world.states == [StateWord.REQUESTING, StateWord.UNLINKED]
    assert world.troubles[-1] is Trouble.STORAGE
    assert world.codes == []


def test_a_link_is_stored_proved_and_its_token_served(world: World) -> None:
    approve_soon(world)

    world.link()

    link = world.stored()
    assert link is not None
    assert link.is_proved
    assert link.token_endpoint.startswith(world.running.origin)
    token = world.token_files().read()
    assert token is not None
    assert token.access_token.reveal().startswith("Sim|A|")
    assert world.complaints() == []


@pytest.mark.parametrize("preset", ["google-device", "microsoft-v1"])
@pytest.mark.parametrize("is_approved", [True, False])
def test_a_link_is_made_or_declined_in_the_shapes_of_large_providers(
    world: World, preset: str, *, is_approved: bool
) -> None:
    for endpoint in ("codepair", "token-poll", "refresh"):
        world.script(endpoint, {"preset": preset, "times": None})
    answer = world.amazon.approve if is_approved else world.amazon.deny
    world.clock.plan(8, lambda: answer("all"))

    state = world.link()

    assert isinstance(state, linking.Linked if is_approved else linking.Unlinked)
    assert is_approved or world.troubles[-1] is Trouble.DENIED
    assert world.complaints() == []


@pytest.mark.parametrize("name", ["Sim Ulated", None])
def test_the_account_is_named_with_the_link_where_the_scope_gives_it(world: World, name: str | None) -> None:
    is_lwa = world.provider.dialect is DialectName.LWA
    scope = (
        ("profile" if is_lwa else "openid profile") if name else ("profile:user_id" if is_lwa else "openid")
    )
    world.provider = replace(world.provider, scope=scope)
    if not is_lwa:
        world.provider = replace(
            world.provider, issuer=world.running.origin, device_endpoint="", token_endpoint=""
        )
    approve_soon(world)

    world.link()

    link, view = world.stored(), world.told[-1]
    assert link is not None
    assert link.account_id is not None
    assert link.account == (name or link.account_id)
    assert (view.state, view.account_name) == (StateWord.LINKED, name)
    assert world.complaints() == []


def test_a_code_that_runs_out_is_renewed_as_often_as_asked_for(world: World) -> None:
    end = world.link(renewals=2)

    assert isinstance(end, linking.Unlinked)
    assert end.trouble is Trouble.EXPIRED
    assert len(world.codes) == 3
    assert world.complaints() == []


def test_an_owner_who_declines_is_believed(world: World) -> None:
    world.clock.plan(40, lambda: world.amazon.deny("all"))

    end = world.link(renewals=2)

    assert isinstance(end, linking.Unlinked)
    assert end.trouble is Trouble.DENIED
    assert world.stored() is None
    assert world.complaints() == []


def test_a_speaker_started_again_goes_on_with_the_same_code(world: World) -> None:
    with world.loop() as loop:
        loop.link(world.request(loop))
        loop.run(lambda: bool(world.codes) and world.passed > 60 and not loop.is_request_out)
    approve_soon(world)

    assert world.link() == linking.Linked()
    assert len(world.codes) == 1
    assert world.complaints() == []


def test_a_speaker_started_again_for_another_client_asks_for_a_new_code(lwa: World) -> None:
    with lwa.loop() as loop:
        loop.link(lwa.request(loop))
        loop.run(lambda: bool(lwa.codes))
    lwa.provider = replace(lwa.provider, client_id="amzn1.application-oa2-client." + "f" * 32)
    approve_soon(lwa)

    lwa.link()

    assert len(lwa.codes) == 2


def test_a_cancel_discards_the_code(world: World) -> None:
    with world.loop() as loop:
        loop.link(world.request(loop))
        world.clock.plan(70, lambda: loop.post(linking.Cancelled()))
        loop.run(lambda: is_over(loop))

    assert loop.state == linking.Unlinked()
    assert not (world.folder / "run" / "pending.json").exists()
    assert world.stored() is None


def test_a_second_press_tells_the_same_code_again(lwa: World) -> None:
    with lwa.loop() as loop:
        loop.link(lwa.request(loop))
        lwa.clock.plan(45, lambda: loop.post(lwa.request(loop)))
        loop.run(lambda: is_over(loop), Monotonic(lwa.clock.moment + 100))

    assert len(lwa.codes) == 1
    assert lwa.told[-1].sequence == 1


def test_a_link_asked_for_again_replaces_the_old_one_only_once_it_is_proved(world: World) -> None:
    approve_soon(world)
    world.link()
    former = world.stored()
    world.script("refresh", {"status": 503, "times": 2})
    approve_soon(world)

    with world.loop() as loop:
        loop.link(world.request(loop, again=True))
        loop.run(lambda: isinstance(loop.state, linking.Proving))
        unproved = world.stored()
        loop.run(lambda: is_over(loop))
    proved = world.stored()

    assert former is not None
    assert unproved is not None
    assert proved is not None
    assert unproved.replaces == former
    assert (proved.link_id, proved.replaces) == (unproved.link_id, None)
    assert not (world.folder / "state" / "link.json.previous").exists()
    assert world.complaints() == []


def test_a_link_asked_for_again_whose_proof_is_refused_leaves_the_old_one_in_force(lwa: World) -> None:
    approve_soon(lwa)
    lwa.link()
    former = lwa.stored()
    lwa.script("refresh", {"status": 400, "json": {"error": "invalid_request"}})
    approve_soon(lwa)

    end = lwa.link(again=True)

    assert isinstance(end, linking.Linked)
    assert end.trouble is Trouble.MISCONFIGURED
    assert lwa.stored() == former


def test_a_new_link_cancelled_while_it_is_proved_leaves_the_old_one_in_use(world: World) -> None:
    approve_soon(world)
    world.link()
    former = world.stored()
    with world.loop() as loop:
        loop.resume(world.request(loop))
        loop.run(lambda: loop.keeping is not None and loop.keeping.grant is not None)
        world.script("refresh", {"status": 503})
        approve_soon(world)
        loop.feed(world.request(loop, again=True))
        loop.run(lambda: isinstance(loop.state, linking.Proving))
        loop.feed(linking.Cancelled())

    assert former is not None
    assert loop.keeping is not None
    assert loop.keeping.link.link_id == former.link_id
    assert world.stored() == loop.keeping.link


def test_a_proof_that_cannot_be_had_for_now_does_not_hold_the_good_news_back(world: World) -> None:
    approve_soon(world)
    world.script("refresh", {"status": 503, "times": None})

    end = world.link()

    link = world.stored()
    assert end == linking.Linked()
    assert link is not None
    assert not link.is_proved
    assert link.mark is None


def test_an_unproved_link_of_before_a_restart_is_proved_before_anyone_is_told(world: World) -> None:
    approve_soon(world)
    world.script("refresh", {"status": 503})
    with world.loop() as loop:
        loop.link(world.request(loop))
        loop.run(lambda: isinstance(loop.state, linking.Proving))

    assert world.link() == linking.Linked()
    assert len(world.codes) == 1
    link = world.stored()
    assert link is not None
    assert link.is_proved


def test_a_grant_the_provider_takes_back_at_once_is_marked_and_not_used(world: World) -> None:
    approve_soon(world)
    world.script("refresh", {"status": 400, "json": {"error": "invalid_grant"}, "times": 2})

    end = world.link()

    link = world.stored()
    assert isinstance(end, linking.Unlinked)
    assert end.trouble is Trouble.REVOKED
    assert link is not None
    assert link.mark is Mark.REVOKED
    assert world.token_files().read() is None


def test_a_rotated_refresh_token_is_stored_before_its_access_token_is_served(tmp_path: Path) -> None:
    with open_world(tmp_path, rotates=True) as world:
        approve_soon(world)
        world.link()
        link = world.stored()
        assert link is not None

        with world.loop() as loop:
            loop.keep_linked(link)
            loop.run(lambda: loop.keeping is not None and loop.keeping.grant is not None)

        renewed = world.stored()
        assert renewed is not None
        assert renewed.refresh_token != link.refresh_token
        assert world.complaints() == []


def test_a_kept_link_is_refreshed_for_a_week_without_a_complaint(world: World) -> None:
    approve_soon(world)
    world.link()
    link = world.stored()
    assert link is not None

    with world.loop() as loop:
        loop.keep_linked(link)
        loop.run(lambda: world.passed > WEEK)

    assert WEEK / 2880 <= world.amazon.grants()[-1].refreshes <= WEEK / 2520 + 2
    assert world.complaints() == []


def test_a_revoked_link_is_given_up_after_the_second_refusal_and_kept_marked(world: World) -> None:
    approve_soon(world)
    world.link()
    link = world.stored()
    assert link is not None
    world.amazon.revoke("all")

    with world.loop() as loop:
        loop.keep_linked(link)
        loop.run(lambda: isinstance(loop.state, linking.Unlinked))

    marked = world.stored()
    assert marked is not None
    assert marked.mark is Mark.REVOKED
    assert marked.refresh_token == link.refresh_token
    assert marked.marked_at is not None
    told = [(view.trouble, view.is_checking) for view in world.told if view.trouble is not Trouble.NONE]
    assert told == [(Trouble.PROVIDER_UNAVAILABLE, True), (Trouble.REVOKED, False)]


def test_a_link_told_before_its_proof_gives_way_to_the_former_one_if_the_proof_is_refused(
    world: World,
) -> None:
    approve_soon(world)
    world.link()
    former = world.stored()
    world.script(
        "refresh",
        {"status": 503, "times": 6},
        {"status": 400, "json": {"error": "invalid_grant"}, "times": 2},
    )
    approve_soon(world)

    with world.loop() as loop:
        loop.link(world.request(loop, again=True))
        loop.run(lambda: is_over(loop))
        told = loop.state
        loop.run(lambda: loop.state != told)
        loop.run(lambda: loop.keeping is not None and loop.keeping.grant is not None)

    assert told == linking.Linked()
    assert isinstance(loop.state, linking.Linked)
    assert loop.state.trouble is Trouble.REVOKED
    assert world.stored() == former
    assert world.token_files().read() is not None


def test_whoever_wants_a_token_that_no_refresh_will_bring_is_told_so_at_once(lwa: World) -> None:
    approve_soon(lwa)
    lwa.link()
    link = lwa.stored()
    assert link is not None
    lwa.script("refresh", {"status": 503, "times": None})

    with lwa.loop() as loop:
        ended: list[bool] = []
        loop._refresh_ended = lambda _: ended.append(True)
        loop.keep_linked(link)
        loop.run(lambda: lwa.passed > 100)
        ended.clear()
        if loop.is_request_out:
            loop.run(lambda: not loop.is_request_out)
            ended.clear()
        loop.want_token(Seconds(60))

    assert ended == [True]
