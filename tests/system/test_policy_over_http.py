"""The policy, row by row and phase by phase, over real sockets: scripted through the control API, in skipped time.

Each cell says how it must end: ``goes on`` (perhaps telling a trouble on the way, perhaps not before so many
seconds) or ``ends`` with a trouble. The referee must have nothing to complain of in any of them.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Final

import pytest

from device_auth.core import linking
from device_auth.core.models import DialectName, Mark
from device_auth.core.states import StateWord, Trouble
from device_auth.simulator.authority import EXPIRED, FOR_YEARS, NOT_YET_VALID, Validity
from tests.world import World, open_world

INTERVAL: Final = 5


@dataclass(frozen=True)
class GoesOn:
    """Linked, or refreshed, in the end; not before ``after`` seconds, and not much later than ``by``."""

    trouble: Trouble = Trouble.NONE
    after: float = 0
    by: float = 200


@dataclass(frozen=True)
class Ends:
    """Not linked, and why."""

    trouble: Trouble


@dataclass(frozen=True)
class Unproved:
    """Linked although the proof is not to be had: told after ten seconds."""

    trouble: Trouble


Cell = GoesOn | Ends | Unproved | None


@dataclass(frozen=True)
class Row:
    name: str
    fault: Mapping[str, object]
    requesting: Cell
    polling: Cell
    proving: Cell
    refreshing: Cell


def error(name: str, status: int = 400, **more: object) -> dict[str, object]:
    return {"status": status, "json": {"error": name, "error_description": "said so"}, **more}


def passing(name: str, fault: Mapping[str, object], trouble: Trouble = Trouble.PROVIDER_UNAVAILABLE) -> Row:
    """An answer that is waited out wherever it comes: twice in a row, and then all is well."""
    return Row(
        name,
        {**fault, "times": 2},
        requesting=GoesOn(trouble, after=0.5),
        polling=GoesOn(trouble, after=2 * INTERVAL),
        proving=GoesOn(trouble, after=0.5),
        refreshing=GoesOn(trouble, after=0.5),
    )


def rejected(name: str) -> Row:
    """The client is not accepted: over while linking, an alarm once a link was told."""
    misconfigured = Trouble.MISCONFIGURED
    return Row(
        name,
        error(name),
        requesting=Ends(misconfigured),
        polling=Ends(misconfigured),
        proving=Ends(misconfigured),
        refreshing=GoesOn(misconfigured, after=1800, by=6000),
    )


def pair_over(name: str, proving: Cell, refreshing: Cell) -> Row:
    """The pair is over; where there is no pair, the name has no meaning and is waited out."""
    odd = GoesOn(Trouble.PROVIDER_UNAVAILABLE)
    return Row(name, error(name), odd, Ends(Trouble.EXPIRED), proving, refreshing)


UNAVAILABLE: Final = Trouble.PROVIDER_UNAVAILABLE
PORTAL: Final = Trouble.CAPTIVE_PORTAL
ODD: Final = GoesOn(UNAVAILABLE)
WELL: Final = GoesOn()
SOON: Final = "in 250 seconds"
"""Stands for a date, which is measured against the answer's own: the server's real one, when the test runs."""

ROWS: Final = [
    Row("authorization_pending", error("authorization_pending"), ODD, GoesOn(after=INTERVAL), ODD, ODD),
    Row(
        "slow_down",
        {"slow_down": True},
        GoesOn(after=5),
        GoesOn(after=10),
        GoesOn(UNAVAILABLE, after=5),
        GoesOn(UNAVAILABLE, after=5),
    ),
    pair_over("expired_token", ODD, ODD),
    pair_over("invalid_grant", GoesOn(UNAVAILABLE, after=10), GoesOn(UNAVAILABLE, after=10)),
    Row(
        "invalid_grant, twice",
        {**error("invalid_grant"), "times": 2},
        None,
        None,
        Ends(Trouble.REVOKED),
        Ends(Trouble.REVOKED),
    ),
    Row("access_denied", error("access_denied"), ODD, Ends(Trouble.DENIED), ODD, ODD),
    rejected("invalid_client"),
    rejected("unauthorized_client"),
    rejected("invalid_scope"),
    rejected("unsupported_grant_type"),
    rejected("invalid_request"),
    rejected("INVALID_CLIENT"),
    passing("429", {"status": 429}),
    Row(
        "429 with Retry-After",
        {"status": 429, "headers": {"Retry-After": "100"}},
        GoesOn(UNAVAILABLE, after=100),
        GoesOn(UNAVAILABLE, after=100),
        Unproved(UNAVAILABLE),
        GoesOn(UNAVAILABLE, after=100),
    ),
    Row(
        "503 with Retry-After as a date",
        {"status": 503, "headers": {"Retry-After": SOON}},
        GoesOn(UNAVAILABLE, after=60, by=280),
        GoesOn(UNAVAILABLE, after=60, by=280),
        Unproved(UNAVAILABLE),
        GoesOn(UNAVAILABLE, after=60, by=280),
    ),
    Row(
        "503 with Retry-After of a day",
        {"status": 503, "headers": {"Retry-After": "86400"}},
        GoesOn(UNAVAILABLE, after=3600, by=3700),
        None,  # the pair runs out first
        Unproved(UNAVAILABLE),
        GoesOn(UNAVAILABLE, after=3600, by=3700),
    ),
    Row(
        "a short Retry-After on a pending poll",
        error("authorization_pending", headers={"Retry-After": "1"}),
        ODD,
        GoesOn(after=INTERVAL),
        ODD,
        ODD,
    ),
    passing("500", {"status": 500}),
    passing("500 with a final error name", error("invalid_client", status=500)),
    passing("503 with invalid_grant", error("invalid_grant", status=503)),
    passing("ServerError", error("ServerError")),
    passing("502 with a web page", {"status": 502, "body": "<html>bad gateway</html>"}),
    passing("404 without an error name", {"status": 404, "json": {"message": "no such thing"}}),
    passing("403 with a web page", {"status": 403, "body": "<html>forbidden</html>"}),
    passing("an unknown error name", error("temporarily_unavailable")),
    passing("an empty answer", {"status": 200, "body": ""}),
    passing("broken JSON", {"status": 200, "body": '{"access_token": "Sim'}),
    passing("JSON nested deeply", {"status": 200, "body": "[" * 30_000}),
    passing("bytes that are no text", {"status": 200, "base64": "/////w=="}),
    passing("a list", {"status": 200, "json": []}),
    passing(
        "wrong types",
        {
            "status": 200,
            "json": {
                "access_token": 5,
                "refresh_token": [],
                "token_type": {},
                "expires_in": "soon",
                "user_code": 7,
                "device_code": None,
                "verification_uri": 1,
            },
        },
    ),
    passing("a truncated answer", {"truncate": True}),
    passing("an oversized answer", {"oversized": True}),
    passing("a redirect on the same host", {"redirect": True}),
    passing("a reset", {"reset": True}),
    Row(
        "no answer in time",
        {"hang": True, "times": 2},
        GoesOn(UNAVAILABLE, after=40),
        GoesOn(UNAVAILABLE, after=40 + 2 * INTERVAL),
        Unproved(Trouble.NONE),  # "linked" is told before the request is given up
        GoesOn(UNAVAILABLE, after=40),
    ),
    passing("a redirect to another host", {"redirect": "http://login.portal.example/"}, PORTAL),
    passing("a web page in place of the answer", {"html": True}, PORTAL),
    passing("511", {"status": 511, "body": "<html>sign in</html>"}, PORTAL),
]

LWA_ROWS: Final = [
    *ROWS,
    pair_over("invalid_code_pair", ODD, ODD),
    rejected("InvalidValue"),
    Row("an answer without a lifetime", {"change": {"expires_in": None}}, ODD, WELL, WELL, WELL),
    Row("a negative lifetime", {"change": {"expires_in": -1}}, ODD, WELL, WELL, WELL),
]

PHASES: Final = ("requesting", "polling", "proving", "refreshing")
ENDPOINTS: Final = dict(zip(PHASES, ("codepair", "token-poll", "refresh", "refresh"), strict=True))

CELLS: Final = [
    pytest.param(dialect, row, phase, id=f"{dialect}-{row.name}-{phase}")
    for dialect, rows, phases in (
        (DialectName.LWA, LWA_ROWS, PHASES),
        # requests and refreshes are read by the same code in both dialects: the plain one is shown polling
        (DialectName.RFC8628, ROWS, ("polling",)),
    )
    for row in rows
    for phase in phases
    if getattr(row, phase) is not None
]


def dated(fault: Mapping[str, object]) -> Mapping[str, object]:
    if fault.get("headers") != {"Retry-After": SOON}:
        return fault
    return {**fault, "headers": {"Retry-After": formatdate(time.time() + 250, usegmt=True)}}


def link_or_refresh(world: World, row: Row, phase: str) -> linking.State:
    """Bring the fault to its phase, and run until it has ended one way or the other."""
    if phase == "refreshing":
        world.link()
        world.told.clear()
        world.clock.moment = 1000.0
    world.script(ENDPOINTS[phase], dated(row.fault))
    if row.fault.get("hang"):
        world.clock.patience = 0.2
    if phase != "refreshing":
        return world.link()
    return world.refresh()


@pytest.mark.parametrize(("dialect", "row", "phase"), CELLS)
def test_every_answer_at_every_phase_ends_as_the_policy_says(
    tmp_path: Path, dialect: DialectName, row: Row, phase: str
) -> None:
    with open_world(tmp_path, dialect, interval=INTERVAL, approve_after=0) as world:
        end = link_or_refresh(world, row, phase)

        cell: Cell = getattr(row, phase)
        match cell:
            case None:
                pytest.fail("an empty cell is not run")
            case GoesOn(trouble, after, by):
                first_poll = INTERVAL if dialect is DialectName.RFC8628 and phase != "refreshing" else 0
                assert isinstance(end, linking.Linked)
                assert trouble in world.troubles
                assert after <= world.passed <= by + first_poll
                link = world.stored()
                assert link is not None
                assert link.is_proved
                assert link.mark is None
            case Ends(trouble):
                assert isinstance(end, linking.Unlinked)
                assert end.trouble is trouble
                assert end.refusal is not None
                assert end.refusal.hint
                assert not (tmp_path / "run" / "pending.json").exists()
                marked = world.stored()
                if phase in {"proving", "refreshing"}:
                    assert marked is not None
                    assert marked.mark in {Mark.REVOKED, Mark.MISCONFIGURED}
                else:
                    assert marked is None
            case Unproved(trouble):
                link = world.stored()
                assert isinstance(end, linking.Linked)
                assert trouble in world.troubles
                assert link is not None
                assert not link.is_proved
                assert link.mark is None
        assert world.complaints() == []


def test_the_wrong_kind_of_client_id_is_called_exactly_that(tmp_path: Path) -> None:
    with open_world(tmp_path, approve_after=0) as world:
        world.script("refresh", error("invalid_request"))

        end = world.link()

        assert isinstance(end, linking.Unlinked)
        assert end.refusal is not None
        assert "wrong kind" in end.refusal.message
        assert "Other devices and platforms" in end.refusal.hint


def test_a_grant_without_a_refresh_token_is_a_matter_of_the_scope(tmp_path: Path) -> None:
    with open_world(tmp_path, DialectName.RFC8628, approve_after=0) as world:
        world.script("token-poll", {"change": {"refresh_token": None}})

        end = world.link()

        assert isinstance(end, linking.Unlinked)
        assert end.trouble is Trouble.MISCONFIGURED
        assert end.refusal is not None
        assert "--scope" in end.refusal.hint


def test_an_access_token_without_a_lifetime_lives_an_hour_in_the_plain_dialect(tmp_path: Path) -> None:
    with open_world(tmp_path, DialectName.RFC8628, approve_after=0) as world:
        world.script("refresh", {"change": {"expires_in": None}})

        world.link()

        token = world.token_files().read()
        assert token is not None
        assert token.expires_at - world.clock.wall() == pytest.approx(3600, abs=1)


def test_a_grant_whose_answer_was_lost_costs_the_code_but_nothing_else(tmp_path: Path) -> None:
    with open_world(tmp_path, approve_after=0) as world:
        world.script("token-poll", {"lost": True})

        end = world.link(renewals=1)

        assert end == linking.Linked()
        assert len(world.codes) == 2
        assert world.complaints() == []


def test_slow_downs_add_up_and_the_interval_is_never_lowered(tmp_path: Path) -> None:
    with open_world(tmp_path, interval=5, approve_after=200) as world:
        world.script("token-poll", *[{"slow_down": True}] * 5)

        assert world.link() == linking.Linked()

        # at once, then after 10, 20, 40, 60, 60 and again 60 seconds
        assert world.passed == 10 + 20 + 40 + 60 + 60 + 60
        assert world.complaints() == []


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("validity", "is_clock_set", "trouble"),
    [
        pytest.param(None, True, UNAVAILABLE, id="refused"),
        pytest.param(NOT_YET_VALID, True, Trouble.CLOCK_NOT_SET, id="a certificate not yet valid"),
        pytest.param(EXPIRED, True, UNAVAILABLE, id="an expired certificate"),
        pytest.param(EXPIRED, False, Trouble.CLOCK_NOT_SET, id="an expired certificate, the clock unset"),
    ],
)
def test_what_breaks_below_http_is_waited_out(
    tmp_path: Path, validity: Validity | None, is_clock_set: bool, trouble: Trouble, phase: str
) -> None:
    with open_world(tmp_path, tls=tmp_path / "tls", interval=INTERVAL, approve_after=0) as world:
        world.clock.is_set = is_clock_set
        word = {"polling": StateWord.WAITING, "proving": StateWord.SAVING}.get(phase)
        if phase == "refreshing":
            world.link()
            world.told.clear()
        if word is None:
            world.restart(validity)
        else:
            world.when[word] = lambda: world.restart(validity)
        world.clock.plan(world.passed + 100, lambda: world.restart(FOR_YEARS))

        end = world.refresh() if phase == "refreshing" else world.link()

        link = world.stored()
        assert isinstance(end, linking.Linked)
        assert trouble in world.troubles
        assert link is not None
        assert link.mark is None
        assert world.complaints() == []
