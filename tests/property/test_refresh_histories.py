"""Whatever happens and whenever: the refreshing machine for a link that shall last for years."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth.core import refresh
from device_auth.core.models import (
    NEVER,
    Answer,
    Link,
    Mark,
    ProofStanding,
    Refusal,
    Seconds,
    SlowDown,
    TimePassed,
    TokenGrant,
    Unclear,
    Unreachable,
)
from device_auth.core.policy import refresh_moment
from device_auth.core.refresh import (
    AskRefresh,
    LinkSaved,
    LinkTold,
    RefreshAnswered,
    SaveFailed,
    SaveLink,
    Serve,
    TokenWanted,
    Withdraw,
    proof_of,
)
from device_auth.core.states import Trouble
from tests.values import (
    CANARY,
    DENIED,
    MISCONFIGURED,
    NO_ANSWER,
    PAIR_OVER,
    REVOKED,
    TIMED_OUT,
    make_grant,
    make_held_link,
    make_unclear,
    moment,
    seconds,
)

SLACK: Final = 1e-6
"""Moments are sums of floats."""


@dataclass(frozen=True)
class GoOn:
    """What is owed next happens: the answer that is out comes, else the moment that is waited for."""

    answer: Answer | None
    draw: float
    took: float
    expires_in: float
    brings: str | None
    """The refresh token that a success brings; None: none."""


@dataclass(frozen=True)
class Late:
    """An answer comes that nobody waits for any more."""

    answer: Answer | None


@dataclass(frozen=True)
class Wish:
    """A program wants a token, perhaps because the one in hand was rejected."""

    min_lifetime: float
    is_rejection: bool = False


@dataclass(frozen=True)
class Wait:
    """So much time passes."""

    length: float


@dataclass(frozen=True)
class Break:
    """The disk works, or not, from now on."""

    works: bool


@dataclass(frozen=True)
class Tell:
    """People are told "linked"."""


Happening = GoOn | Late | Wish | Wait | Break | Tell

ANSWERS: st.SearchStrategy[Answer | None] = st.sampled_from(
    [
        None,
        None,
        REVOKED,
        REVOKED,
        MISCONFIGURED,
        DENIED,
        PAIR_OVER,
        NO_ANSWER,
        TIMED_OUT,
        SlowDown(),
        SlowDown(seconds(900)),
        make_unclear(),
        make_unclear(3600),
        make_unclear(trouble=Trouble.CAPTIVE_PORTAL),
        Unreachable(Trouble.CLOCK_NOT_SET, "certificate"),
        Unreachable(Trouble.MISCONFIGURED, "the proxy is none", hint="Correct it."),
    ]
)
DRAWS = st.sampled_from([0.0, 0.5, 0.999])
LENGTHS = st.sampled_from([0.0, 0.5, 5.0, 9.9, 31.0, 301.0, 4000.0])


def goes_on() -> st.SearchStrategy[Happening]:
    """Return a strategy of its own each time: ``one_of`` counts the same one once only."""
    return st.builds(
        GoOn,
        ANSWERS,
        DRAWS,
        st.sampled_from([0.0, 0.3, 9.0, 20.0]),
        st.sampled_from([1.0, 20.0, 60.0, 900.0, 3600.0, 86400.0]),
        st.sampled_from([None, "first", "second", "third"]),
    )


HAPPENINGS: st.SearchStrategy[Happening] = st.one_of(
    *[goes_on() for _ in range(6)],
    st.builds(Late, ANSWERS),
    st.builds(Wish, st.sampled_from([0.0, 60.0, 3000.0, 1e6, 999_999_999.0]), st.booleans()),
    st.builds(Wait, LENGTHS),
    st.builds(Break, st.booleans()),
    st.builds(Tell),
)


@dataclass
class World:
    """Plays a history to the machine, and checks each thing it does against what is known from outside."""

    state: refresh.Keeping
    now: float = 0.0
    is_out: bool = False
    works: bool = True
    stored: Link = field(init=False)
    served: TokenGrant | None = None
    is_told: bool = False
    rests: float = 0.0
    """No refresh before."""
    latest: float = 0.0
    """A refresh until then, if nothing else happens."""
    doubted_at: float | None = None
    grants: int = 0

    def __post_init__(self) -> None:
        self.stored = self.state.link

    def play(self, happening: Happening) -> None:
        self.let_happen(happening)
        due = refresh.next_moment(self.state)
        assert self.served is None or due <= self.served.expires_at, "the end of a token is slept through"
        if self.stored.refresh_token != self.state.link.refresh_token:
            assert due <= self.now + 60, "a refresh token is never stored"

    def let_happen(self, happening: Happening) -> None:
        match happening:
            case GoOn():
                self.go_on(happening)
            case Late(answer):
                self.hear_late(answer)
            case Wish(min_lifetime, is_rejection):
                rejected = self.served.access_token if is_rejection and self.served else None
                self.feed(TokenWanted(seconds(min_lifetime), rejected))
            case Wait(length):
                self.now += length
                self.come()
            case Break(works):
                self.works = works
            case Tell():
                if proof_of(self.state) is not ProofStanding.REFUSED:
                    self.is_told = True
                    self.feed(LinkTold())

    # -- what happens

    def go_on(self, happening: GoOn) -> None:
        if self.is_out:
            sent_at = self.now
            self.now += happening.took
            self.come()
            self.hear(happening, sent_at)
            return
        due = refresh.next_moment(self.state)
        if due < NEVER:
            assert self.state.link.mark is not None or due <= max(self.now, self.latest) + SLACK, "asleep"
            self.now = max(self.now, due)
            self.come()
        else:
            assert self.state.link.mark is not None, "a link is forgotten"

    def come(self) -> None:
        """Let the moment come as often as something is due."""
        for _ in range(4):
            before = self.state
            self.feed(TimePassed())
            if refresh.next_moment(self.state) > self.now:
                break
            assert self.state != before, f"{before} is never done"
        assert refresh.next_moment(self.state) > self.now, f"{self.state} is never done"
        assert self.served is None or self.served.expires_at > self.now, "a token is served that has ended"

    def hear(self, happening: GoOn, sent_at: float) -> None:
        answer = happening.answer or self.new_grant(happening.brings, sent_at, happening.expires_in)
        before, self.is_out = self.state, False
        self.note(answer, happening.draw)
        self.feed(RefreshAnswered(answer, happening.draw))
        if not isinstance(answer, TokenGrant | Refusal):
            assert replace(self.state, ask_at=None, attempt=0, trouble=Trouble.NONE, refusal=None) == replace(
                before, ask_at=None, attempt=0, trouble=Trouble.NONE, refusal=None
            ), "an answer that is not final changed the link"

    def hear_late(self, answer: Answer | None) -> None:
        before = self.state
        if self.is_out:
            return
        late = answer or self.new_grant("late", self.now, 3600)
        if isinstance(late, TokenGrant) and self.state.link.mark is None:
            self.note(late, 0.5)
        self.feed(RefreshAnswered(late, 0.5))
        if not isinstance(late, TokenGrant):
            assert self.state == before, "an answer that nobody waits for was heard"

    def new_grant(self, refresh_token: str | None, issued_at: float, expires_in: float) -> TokenGrant:
        self.grants += 1
        return make_grant(
            access_token=str(self.grants),
            refresh_token=refresh_token,
            issued_at=issued_at,
            expires_in=expires_in,
        )

    def note(self, answer: Answer, draw: float) -> None:
        """Work out from the answer alone when to refresh next, at the earliest and at the latest."""
        told = answer.retry_after if isinstance(answer, SlowDown | Unclear) else None
        self.rests, self.latest = self.now + (told or 0), self.now + max(300, min(1.1 * (told or 0), 3600))
        if isinstance(answer, TokenGrant):
            issued_at = answer.expires_at - answer.expires_in
            self.rests = issued_at + max(min(60, answer.expires_in), 0.3 * answer.expires_in)
            self.latest = issued_at + max(0.8 * answer.expires_in, 60)
            self.doubted_at = None
        elif answer == REVOKED:
            self.rests = self.now + 10
        elif answer == MISCONFIGURED:
            self.rests, self.latest = self.now + 1800, self.now + 5400
        assert 0 <= draw < 1

    # -- what it insists on

    def feed(self, event: refresh.Event) -> None:
        before = self.state
        self.state, commands = refresh.step(before, event, moment(self.now))
        assert CANARY not in repr((event, commands, self.state)), "a secret is seen"
        self.check_link(before, event)
        for command in commands:
            self.check(command, event)

    def check(self, command: refresh.Command, event: refresh.Event) -> None:
        match command:
            case AskRefresh(link):
                assert not self.is_out, "two refreshes are out"
                assert link == self.state.link
                assert link.mark is None, "a link given up is used"
                is_wish = isinstance(event, TokenWanted)
                assert is_wish or self.now >= self.rests - SLACK, "a refresh too early"
                assert not is_wish or self.is_worth_while(event), "a wish that brings nothing is followed"
                self.is_out = True
            case SaveLink(link):
                assert link == self.state.link
                if self.works:
                    self.stored = link
                self.feed(LinkSaved() if self.works else SaveFailed())
            case Serve(grant):
                assert self.state.link.mark is None, "a token of a link given up is served"
                assert self.state.grant == grant
                wanted = self.state.link.refresh_token
                assert not self.works or self.stored.refresh_token == wanted or self.state.save_at < NEVER, (
                    "a token is served before its refresh token is stored"
                )
                self.served = grant
            case Withdraw():
                assert self.state.link.mark is not None or (
                    self.served is not None and self.now >= self.served.expires_at
                ), "a token is withdrawn that still lives"
                self.served = None

    def is_worth_while(self, event: refresh.Event) -> bool:
        """A wish may hurry a refresh: never after a failure, nor if the token is as fresh as can be."""
        if self.state.attempt:
            return False
        if self.served is None or self.now >= self.served.expires_at:
            return True
        age = self.now - (self.served.expires_at - self.served.expires_in)
        assert isinstance(event, TokenWanted)
        if event.rejected is not None:
            return age >= 30
        return age >= 60 and self.served.expires_at - self.now < event.min_lifetime

    def check_link(self, before: refresh.Keeping, event: refresh.Event) -> None:
        if self.state.link.mark is not None and before.link.mark is None:
            assert isinstance(event, RefreshAnswered)
            if event.answer == REVOKED:
                assert self.doubted_at is not None, "revoked at the first invalid_grant"
                assert self.now - self.doubted_at >= 10 - SLACK, "revoked within 10 s"
                assert self.state.link.mark is Mark.REVOKED
            else:
                assert event.answer == MISCONFIGURED, "a link is given up for something that passes"
                assert not before.link.is_proved, "a proved link is given up for a setting"
                assert not self.is_told, "a told link is given up for a setting"
        if isinstance(event, RefreshAnswered) and event.answer == REVOKED and self.state.is_doubted:
            self.doubted_at = self.now if self.doubted_at is None else self.doubted_at
        if self.state.link.mark is None and before.grant is not None and self.now < before.grant.expires_at:
            assert self.state.grant is not None, "a token that still lives is let go"


@settings(max_examples=200)
@given(st.booleans(), st.lists(HAPPENINGS, min_size=8, max_size=40))
def test_no_history_makes_the_machine_lose_a_link(is_proved: bool, history: list[Happening]) -> None:
    world = World(refresh.begin(make_held_link(is_proved=is_proved), moment(0)))
    world.come()

    for happening in history:
        world.play(happening)


@settings(max_examples=50)
@given(
    st.sampled_from([1.0, 20.0, 59.0, 60.0, 90.0, 3600.0]),
    st.sampled_from([0.5, 5.0, 61.0]),
    st.sampled_from([60.0, 3000.0, 999_999_999.0]),
    DRAWS,
)
def test_no_wish_and_no_lifetime_brings_two_refreshes_within_a_minute_unless_the_token_has_ended(
    expires_in: float, every: float, min_lifetime: float, draw: float
) -> None:
    state = refresh.begin(make_held_link(is_proved=True), moment(0))
    asked: list[float] = []
    without = now = 0.0
    while now < 3600:
        for event in (TimePassed(), TokenWanted(seconds(min_lifetime))):
            state, commands = refresh.step(state, event, moment(now))
            if any(isinstance(command, AskRefresh) for command in commands):
                asked.append(now)
                grant = make_grant(refresh_token=str(now), issued_at=now, expires_in=expires_in)
                state, _ = refresh.step(state, RefreshAnswered(grant, draw), moment(now))
        without = max(without, now - asked[-1] - expires_in)
        now += every

    assert all(later - earlier >= min(60, expires_in) - SLACK for earlier, later in pairwise(asked))
    assert len(asked) <= 66, "tokens that end at once wear the card out"
    assert without <= max(0, 60 - expires_in) + every, "a linked speaker is left without a token"


@given(st.floats(1, 1e9), st.floats(0, 1, exclude_max=True))
def test_a_token_is_refreshed_within_80_percent_of_its_life(lifetime: float, draw: float) -> None:
    wait = refresh_moment(Seconds(lifetime), draw)

    assert 0 < 0.39 * lifetime <= wait <= 0.8 * lifetime


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(ANSWERS.filter(lambda answer: answer not in (None, REVOKED)), DRAWS),
        min_size=1,
        max_size=20,
    )
)
def test_a_provider_that_recovers_finds_the_link_whole(failures: list[tuple[Answer, float]]) -> None:
    world = World(refresh.begin(make_held_link(is_proved=True), moment(0)))
    world.come()

    for answer, draw in failures:
        world.play(GoOn(answer, draw, 0.3, 3600, None))
        world.play(GoOn(answer, draw, 0.3, 3600, None))
    while not world.is_out:
        world.play(GoOn(None, 0.5, 0.3, 3600, None))
    world.play(GoOn(None, 0.5, 0.3, 3600, "second"))

    assert world.served is not None
    assert world.state.trouble is Trouble.NONE
    assert world.stored.refresh_token.reveal() == f"{CANARY}-second"
