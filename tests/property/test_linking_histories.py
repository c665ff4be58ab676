"""Whatever happens and whenever: the linking machine in a world that answers, fails, hangs and is pressed."""

from dataclasses import dataclass, field
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth.core import linking
from device_auth.core.linking import (
    Answered,
    Cancelled,
    DropCall,
    ForgetPending,
    GrantFound,
    GrantSubmitted,
    KeepPending,
    Linked,
    LinkLost,
    LinkRequested,
    OwnerBack,
    OwnerLeft,
    PairFound,
    PollToken,
    ProofChanged,
    ProveGrant,
    ProveStore,
    Proving,
    RequestCodePair,
    Requesting,
    Saved,
    SaveGrant,
    Saving,
    StoreFailed,
    StoreProved,
    TellAgain,
    UndoSave,
    Unlinked,
    UseLink,
    Waiting,
)
from device_auth.core.models import (
    NEVER,
    Answer,
    CodePair,
    Flow,
    Pending,
    PollRules,
    ProofStanding,
    Refusal,
    Secret,
    SlowDown,
    TimePassed,
    TokenGrant,
    Unclear,
    Unreachable,
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
    make_pair,
    make_unclear,
    moment,
    seconds,
)

SLACK: Final = 1e-6
"""Moments are sums of floats."""


# ---------------------------------------------------------------------------------------------------------
# What may happen


@dataclass(frozen=True)
class Wait:
    """So much time passes."""

    length: float


@dataclass(frozen=True)
class WaitUntilDue:
    """Time passes up to the moment that the machine wants to hear of."""


@dataclass(frozen=True)
class Hear:
    """The request that is out comes to an answer; None: to success."""

    answer: Answer | None
    draw: float = 0.5
    expires_in: float = 600
    interval: float = 5


@dataclass(frozen=True)
class GoOn:
    """What is owed next happens: the disk is done, an answer comes, the proof, or the moment waited for."""

    hear: Hear
    took: float
    works: bool
    standing: ProofStanding


@dataclass(frozen=True)
class HearLate:
    """A poll that timed out brings the grant after all."""


@dataclass(frozen=True)
class Disk:
    """The disk has done, or not, what it was told last."""

    works: bool


@dataclass(frozen=True)
class Proof:
    """The proof that is wanted stands so now."""

    standing: ProofStanding


@dataclass(frozen=True)
class Press:
    """Someone asks for a link; lengths count from now."""

    rules: PollRules
    again: bool
    renewals: int
    present_for: float
    gives_up_in: float
    postpones_within: float = 8.0


@dataclass(frozen=True)
class Bring:
    """Someone brings a grant that came by another way."""

    flow: Flow
    leaves_no_trace: bool


@dataclass(frozen=True)
class Restart:
    """The power was out: the machine starts anew with what it finds. 0: nothing, 1: the pair, 2: a grant."""

    finds: int


@dataclass(frozen=True)
class Happen:
    """Something else happens."""

    event: linking.Event


Happening = Wait | WaitUntilDue | GoOn | Hear | HearLate | Disk | Proof | Press | Bring | Restart | Happen

LENGTHS = st.sampled_from([0.0, 0.1, 1.0, 4.9, 5.0, 5.1, 29.0, 31.0, 61.0, 130.0, 700.0])
SHORT_LIVES = st.sampled_from([1.0, 6.0, 11.0, 31.0, 100.0, 600.0, 1800.0])
INTERVALS = st.sampled_from([1.0, 5.0, 7.0, 30.0, 45.0, 70.0])
ANSWERS: st.SearchStrategy[Answer | None] = st.sampled_from(
    [
        None,
        Pending(),
        Pending(),
        Pending(seconds(40)),
        SlowDown(),
        SlowDown(seconds(90)),
        make_unclear(),
        make_unclear(75),
        make_unclear(trouble=Trouble.CAPTIVE_PORTAL),
        NO_ANSWER,
        TIMED_OUT,
        TIMED_OUT,
        Unreachable(Trouble.CLOCK_NOT_SET, "certificate"),
        Unreachable(Trouble.MISCONFIGURED, "the proxy is none", hint="Correct it."),
        PAIR_OVER,
        DENIED,
        MISCONFIGURED,
        REVOKED,
    ]
)
SUCCESS = st.builds(Hear, st.none(), expires_in=SHORT_LIVES, interval=INTERVALS)
WAITED_OUT: st.SearchStrategy[Answer | None] = st.sampled_from(
    [
        Pending(),
        Pending(seconds(40)),
        SlowDown(),
        SlowDown(),
        make_unclear(75),
        NO_ANSWER,
        TIMED_OUT,
        TIMED_OUT,
    ]
)
DRAWS = st.sampled_from([0.0, 0.5, 0.999])
HEARD = st.builds(Hear, ANSWERS, DRAWS, SHORT_LIVES, INTERVALS)


def goes_on() -> st.SearchStrategy[Happening]:
    """Return a strategy of its own each time: ``one_of`` counts the same one once only."""
    return st.builds(
        GoOn,
        st.one_of(st.builds(Hear, WAITED_OUT, DRAWS), SUCCESS, HEARD),
        st.sampled_from([0.0, 0.0, 0.2, 3.0, 20.0]),
        st.sampled_from([True, True, False]),
        st.sampled_from(ProofStanding),
    )


PRESSES = st.builds(
    Press,
    rules=st.one_of(
        st.builds(PollRules, first_at_once=st.booleans(), slow_down_doubles=st.booleans()),
        st.builds(
            PollRules,
            st.just(True),
            st.just(True),
            st.sampled_from([seconds(0), seconds(10)]),
            st.just(10.0),
            st.just(5.0),
        ),
    ),
    again=st.booleans(),
    renewals=st.integers(0, 3),
    present_for=st.sampled_from([0.0, 10.0, 200.0, NEVER]),
    gives_up_in=st.sampled_from([0.0, 10.0, 120.0, NEVER, NEVER]),
    postpones_within=st.sampled_from([0.0, 8.0, NEVER, NEVER]),
)
BRINGS = st.builds(Bring, st.sampled_from(Flow), st.booleans())
HAPPENINGS: st.SearchStrategy[Happening] = st.one_of(
    *[goes_on() for _ in range(10)],
    HEARD,
    st.builds(Wait, LENGTHS),
    st.builds(HearLate),
    st.builds(Disk, st.sampled_from([True, True, False])),
    st.builds(Proof, st.sampled_from(ProofStanding)),
    PRESSES,
    BRINGS,
    st.builds(Restart, st.integers(0, 2)),
    st.builds(Happen, st.sampled_from([OwnerLeft(), OwnerBack()])),
    st.builds(Happen, st.sampled_from([Cancelled(), LinkLost(), LinkLost(REVOKED), TimePassed()])),
)
BEGINNINGS: st.SearchStrategy[list[Happening]] = st.sampled_from(
    [
        [],
        [Disk(works=True)],
        [Disk(works=True), SOON := Hear(None, expires_in=31, interval=7)],
        [Disk(works=True), Hear(None, expires_in=600, interval=70), WaitUntilDue(), Hear(SlowDown())],
        [Disk(works=True), SOON, WaitUntilDue(), Hear(TIMED_OUT)],
        [Disk(works=True), SOON, WaitUntilDue(), Wait(30), Hear(Pending())],
        [Disk(works=True), SOON, WaitUntilDue(), GRANTED := Hear(None)],
        [Disk(works=True), SOON, WaitUntilDue(), GRANTED, Disk(works=False)],
        [Disk(works=True), SOON, WaitUntilDue(), GRANTED, Disk(works=True)],
        [Disk(works=True), SOON, WaitUntilDue(), GRANTED, Happen(Cancelled())],
        [Happen(Cancelled()), BROUGHT := Bring(Flow.AUTHORIZATION_CODE, leaves_no_trace=True)],
        [Happen(Cancelled()), BROUGHT, Disk(works=True)],
    ]
)
"""Up to each turn of the way; chance alone would seldom come so far."""
HISTORIES: st.SearchStrategy[list[Happening]] = st.builds(
    lambda press, beginning, rest: [press, *beginning, *rest],
    PRESSES,
    BEGINNINGS,
    st.lists(HAPPENINGS, min_size=8, max_size=40),
)


# ---------------------------------------------------------------------------------------------------------
# The world, and what it insists on


@dataclass
class World:
    """Plays a history to the machine, and checks each thing it does against what is known from outside."""

    state: linking.State = field(default_factory=Unlinked)
    now: float = 0.0
    call: RequestCodePair | PollToken | None = None
    disk: ProveStore | SaveGrant | None = None
    pairs: int = 0
    grants: int = 0
    is_disk_proved: bool = False
    is_saved: bool = False
    is_half_saved: bool = False
    is_linked: bool = False
    """A link in force, new or former."""
    is_wanted: bool = False
    """Nobody has cancelled."""
    rests: float = 0.0
    """No poll of the pair in hand before."""
    polled_at: float = 0.0
    interval: float = 0.0
    timeouts: int = 0
    is_slowed: bool = False
    ended: set[CodePair] = field(default_factory=set)
    postponed: set[CodePair] = field(default_factory=set)
    timed_out: CodePair | None = None
    renewals: int = 0
    present_until: float = 0.0

    def play(self, happening: Happening) -> None:
        match happening:
            case Wait(length):
                self.now += length
                self.feed(TimePassed())
            case WaitUntilDue():
                self.wait_until_due()
            case GoOn():
                self.go_on(happening)
            case Hear():
                self.hear(happening)
            case HearLate():
                if isinstance(self.state, Waiting) and self.timed_out == self.state.pair:
                    self.feed(Answered(self.new_grant(), 0.5))
            case Disk(works):
                self.end_disk(works=works)
            case Proof(standing):
                if isinstance(self.state, Proving):
                    refusal = REVOKED if standing is ProofStanding.REFUSED else None
                    self.feed(ProofChanged(standing, Trouble.NONE, refusal))
            case Press():
                self.press(happening)
            case Bring(flow, leaves_no_trace):
                self.bring(flow, leaves_no_trace=leaves_no_trace)
            case Restart(finds):
                self.restart(finds)
            case Happen(event):
                self.feed(event)

    # -- what happens

    def wait_until_due(self) -> None:
        """Once a moment is reached something happens, again and again until nothing is due any more."""
        due = linking.next_moment(self.state)
        if due == NEVER:
            return
        self.now = max(self.now, due)
        for _ in range(6):
            before = self.state
            self.feed(TimePassed())
            assert self.state != before, f"{before} slept through {due}"
            if linking.next_moment(self.state) > self.now:
                return
        raise AssertionError(f"{self.state} is never done with {due}")

    def go_on(self, happening: GoOn) -> None:
        if self.disk is not None:
            self.end_disk(works=happening.works)
        elif self.call is not None:
            self.play(Wait(happening.took))
            self.hear(happening.hear)
        elif isinstance(self.state, Proving):
            self.play(Proof(happening.standing))
        else:
            self.wait_until_due()

    def hear(self, happening: Hear) -> None:
        call, self.call = self.call, None
        if call is None:
            self.hear_stray(happening.answer or make_pair(name="stray"))
            return
        if isinstance(call, RequestCodePair):
            answer = happening.answer or self.new_pair(happening)
            self.feed(Answered(answer, happening.draw))
            return
        answer = happening.answer or self.new_grant()
        self.note(call.pair, answer)
        self.feed(Answered(answer, happening.draw))

    def hear_stray(self, answer: Answer) -> None:
        before = self.state
        self.feed(Answered(answer, 0.5))
        assert self.state == before, "an answer to no question was heard"

    def new_pair(self, happening: Hear) -> CodePair:
        self.pairs += 1
        pair = make_pair(
            name=str(self.pairs),
            sent_at=self.now,
            expires_in=happening.expires_in,
            interval=happening.interval,
        )
        assert isinstance(self.state, Requesting)
        rules = self.state.request.rules
        self.interval, self.timeouts = max(rules.at_least, min(pair.interval, rules.at_most)), 0
        self.rests = self.now if rules.first_at_once else self.now + self.interval
        self.is_slowed = False
        return pair

    def new_grant(self) -> TokenGrant:
        self.grants += 1
        return make_grant(access_token=str(self.grants), issued_at=self.now)

    def note(self, pair: CodePair, answer: Answer) -> None:
        """Work out from the answer alone how long the provider wants to be left alone."""
        if not isinstance(self.state, Waiting) or self.state.pair != pair:
            return
        if isinstance(answer, SlowDown):
            rules = self.state.request.rules
            doubled = min(max(2 * self.interval, self.interval + 5), 60)
            doubled = max(doubled, pair.interval)
            self.interval = max(self.interval, doubled if rules.slow_down_doubles else self.interval + 5)
            self.is_slowed = True
        is_timed_out = isinstance(answer, Unreachable) and answer.timed_out
        self.timeouts = self.timeouts + 1 if is_timed_out else 0
        told = answer.retry_after if isinstance(answer, Pending | SlowDown | Unclear) else None
        wait = max(self.interval, min(60, self.interval * 2**self.timeouts), told or 0)
        after, since = self.state.request.rules.hurries_after, self.now
        if wait == self.interval and not self.is_slowed:
            if (
                self.interval < pair.interval
            ):  # our own choice: a quarter of a second of the poll's way counts
                since = max(self.polled_at, since - 0.25)
            wait = wait if after is None else min(wait, after)
        self.rests = since + wait
        if is_timed_out:
            self.timed_out = pair
        if isinstance(answer, Refusal | TokenGrant):
            self.ended.add(pair)

    def end_disk(self, *, works: bool) -> None:
        deed, self.disk = self.disk, None
        if deed is None:
            return
        self.is_half_saved = isinstance(deed, SaveGrant) and not works
        if not works:
            self.feed(StoreFailed("disk full", "free some space"))
        elif isinstance(deed, ProveStore):
            self.is_disk_proved = True
            self.feed(StoreProved())
        else:
            self.is_saved = True
            self.feed(Saved())

    def press(self, press: Press) -> None:
        request = LinkRequested(
            press.rules,
            press.renewals,
            moment(self.now + press.present_for),
            seconds(press.gives_up_in),
            press.again,
            seconds(press.postpones_within),
        )
        if isinstance(self.state, Requesting | Waiting):
            self.renewals = max(self.renewals, press.renewals)
            self.present_until = max(self.present_until, request.present_until)
        else:
            self.renewals, self.present_until = press.renewals, request.present_until
        if isinstance(self.state, Linked | Unlinked):
            self.is_wanted = True
        self.feed(request)

    def bring(self, flow: Flow, *, leaves_no_trace: bool) -> None:
        before, self.grants = self.state, self.grants + 1
        token = Secret(f"{CANARY}-brought-{self.grants}")
        request = LinkRequested(PollRules(True, True), leaves_no_trace=leaves_no_trace)
        is_taken = isinstance(before, Linked | Unlinked)
        if is_taken:
            self.is_wanted, self.renewals = True, 0
            self.disk = None  # what a cancelled press asked of the disk is over
        self.feed(GrantSubmitted(request, token, flow))
        assert (self.disk == SaveGrant(token, flow)) == is_taken, "a grant is lost, or in the way"
        assert is_taken or self.state == before

    def restart(self, finds: int) -> None:
        before, request = self.state, LinkRequested(PollRules(True, True))
        self.state = Linked() if self.is_linked else Unlinked()
        self.call = self.disk = self.timed_out = None
        self.is_wanted, self.is_saved, self.is_disk_proved, self.renewals = True, False, False, 0
        self.is_half_saved = False
        self.present_until = request.present_until
        if finds == 1 and isinstance(before, Waiting) and self.now < before.pair.expires_at:
            self.timeouts, self.rests = 0, self.now + self.interval
            self.feed(PairFound(request, before.pair, before.interval))
        elif finds == 2 and not self.is_linked:
            self.is_saved = True
            self.feed(GrantFound(request))

    # -- what it insists on

    def feed(self, event: linking.Event) -> None:
        before = self.state
        if isinstance(event, Cancelled):
            self.is_wanted = False
        self.state, commands = linking.step(before, event, moment(self.now))
        for command in commands:
            self.check(command, event)
        self.check_step(before, event, commands)
        self.check_asleep()
        assert CANARY not in repr((event, commands, self.state)), "a secret is seen"

    def check(self, command: linking.Command, event: linking.Event) -> None:
        is_undoing = isinstance(command, DropCall | ForgetPending | UndoSave | TellAgain)
        assert self.is_wanted or is_undoing, f"{command} after a cancel"
        match command:
            case PollToken(pair):
                assert self.call is None, "two requests are out"
                assert pair not in self.ended, "a poll after a final answer"
                assert self.now < pair.expires_at, "a poll after the deadline"
                assert self.now >= self.rests - SLACK, "a poll before the interval is over"
                self.call, self.polled_at = command, self.now
            case RequestCodePair():
                assert self.call is None, "two requests are out"
                self.call = command
            case ProveStore():
                self.disk, self.is_disk_proved = command, False
                if not isinstance(event, LinkRequested):
                    self.renewals -= 1
                    assert self.renewals >= 0, "a renewal too many"
                    assert self.now <= self.present_until, "a renewal for nobody"
            case SaveGrant():
                assert self.disk is None, "two saves are out"
                self.disk, self.is_saved = command, False
            case ProveGrant():
                assert self.is_saved, "a grant is proved that is not stored"
            case DropCall():
                self.call = None
            case UseLink():
                assert self.is_saved, "a link is used that is not stored"
            case UndoSave():
                self.is_saved = self.is_half_saved = False
            case KeepPending(_pair, interval):
                assert interval >= self.interval - SLACK
            case ForgetPending() | TellAgain() | linking.AskAccount():
                pass

    def check_step(
        self, before: linking.State, event: linking.Event, commands: tuple[linking.Command, ...]
    ) -> None:
        after = self.state
        if (
            isinstance(before, Waiting)
            and isinstance(event, Answered)
            and isinstance(event.answer, TokenGrant)
        ):
            assert event.answer.refresh_token is not None
            assert commands == (SaveGrant(event.answer.refresh_token),), "a grant is lost"
        if isinstance(before, Waiting) and isinstance(after, Waiting):
            assert after.interval >= before.interval, "the interval went down"
        if isinstance(event, OwnerLeft | OwnerBack):
            assert commands == ()
            self.check_owner(before, event)
        if isinstance(after, Waiting) and not isinstance(before, Waiting):
            assert self.is_disk_proved or isinstance(event, PairFound), (
                "a code is shown that could not be stored"
            )
        if isinstance(after, Waiting):
            assert after.pair not in self.ended, "a pair outlives its final answer"
        if isinstance(after, Requesting | Waiting):
            assert after.request.renewals <= self.renewals, "a renewal was not counted"
        if isinstance(after, Linked) and not isinstance(before, Linked):
            assert self.is_linked or self.is_saved, "linked is told before the disk knows"
        if isinstance(event, Cancelled):
            assert isinstance(after, Unlinked | Linked) or (isinstance(after, Saving) and self.disk)
        if isinstance(event, LinkLost) or isinstance(after, Unlinked):
            self.is_linked = False
        if isinstance(after, Linked):
            self.is_linked = True
        if isinstance(after, Unlinked | Linked):
            assert not self.is_half_saved, "the next start may find a link that was told to have failed"
            self.is_saved, self.timed_out = False, None

    def check_owner(self, before: linking.State, event: OwnerLeft | OwnerBack) -> None:
        after = self.state
        if not isinstance(before, Waiting) or before.poll_at is None:
            assert after == before, "the owner came and went where nothing was to be postponed"
            return
        assert isinstance(after, Waiting)
        assert after.poll_at is not None, "the next poll is lost"
        if isinstance(event, OwnerBack):
            assert after.poll_at <= max(self.now, self.rests) + SLACK, "the owner who is back is kept waiting"
        elif after.poll_at != before.poll_at:
            assert after.pair not in self.postponed, "a pair is postponed twice"
            assert after.poll_at - before.poll_at <= after.interval + SLACK, (
                "postponed by more than one interval"
            )
            assert after.poll_at < after.pair.expires_at, "postponed past the deadline"
            self.postponed.add(after.pair)

    def check_asleep(self) -> None:
        """Without a moment to wait for, something else must be on its way."""
        due = linking.next_moment(self.state)
        if isinstance(self.state, Waiting) and self.call is None:
            assert due <= self.state.pair.expires_at, "the deadline is slept through"
        if isinstance(self.state, Requesting):
            assert due <= self.state.give_up_at, "the time to give up is slept through"
        if isinstance(self.call, PollToken) and isinstance(self.state, Waiting):
            assert due == NEVER, "there is nothing to wake up for while a poll is out"
        if due < NEVER:
            return
        match self.state:
            case Requesting():
                assert self.call is not None or isinstance(self.disk, ProveStore)
            case Waiting():
                assert isinstance(self.call, PollToken)
            case Saving():
                assert isinstance(self.disk, SaveGrant)
            case Unlinked() | Linked() | Proving():
                pass


@settings(max_examples=250)
@given(HISTORIES)
def test_no_history_makes_the_machine_break_its_word(history: list[Happening]) -> None:
    world = World()

    for happening in history:
        world.play(happening)


OWNER_COMES_AND_GOES: Final = st.sampled_from(
    [
        Happen(OwnerLeft()),
        Happen(OwnerLeft()),
        Happen(OwnerBack()),
        Happen(OwnerBack()),
        Wait(1.0),
        WaitUntilDue(),
        Hear(Pending()),
        Hear(SlowDown(seconds(20))),
        Restart(1),
    ]
)


@settings(max_examples=150)
@given(
    st.lists(OWNER_COMES_AND_GOES, max_size=25),
    st.booleans(),
    st.sampled_from([15.0, 40.0, 600.0]),
    st.sampled_from([0.0, 3.0, NEVER]),
)
def test_an_owner_who_comes_and_goes_is_polled_for_in_time(
    history: list[Happening], first_at_once: bool, expires_in: float, postpones_within: float
) -> None:
    world = World()
    world.play(Press(PollRules(first_at_once, False), False, 0, NEVER, NEVER, postpones_within))
    world.play(Disk(works=True))
    world.play(Hear(None, expires_in=expires_in, interval=5))

    for happening in history:
        world.play(happening)

    assert postpones_within > 0 or not world.postponed


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.2, 20.0]), WAITED_OUT), max_size=30),
    st.booleans(),
    st.booleans(),
    SHORT_LIVES,
    INTERVALS,
    st.lists(st.sampled_from([OwnerLeft(), OwnerBack(), TimePassed()])),
)
def test_a_pair_is_always_settled_in_the_end(
    answers: list[tuple[float, Answer | None]],
    first_at_once: bool,
    slow_down_doubles: bool,
    expires_in: float,
    interval: float,
    owner: list[linking.Event],
) -> None:
    world = World()
    world.play(Press(PollRules(first_at_once, slow_down_doubles), False, 0, NEVER, NEVER, NEVER))
    world.play(Disk(works=True))
    world.play(Hear(None, expires_in=expires_in, interval=interval))

    for took, answer in answers:
        world.wait_until_due()
        world.play(Wait(took))
        world.play(Hear(answer))
    for _ in range(int(expires_in / interval) + 2):
        if owner:
            world.play(Happen(owner.pop()))
        world.play(WaitUntilDue())
        world.play(Hear(Pending()))
        if not isinstance(world.state, Waiting):
            break

    assert not isinstance(world.state, Waiting)


STRAYS: st.SearchStrategy[linking.Event] = st.sampled_from(
    [
        LinkRequested(PollRules(True, False), 1, moment(50), seconds(90), again=True),
        PairFound(LinkRequested(PollRules(False, False)), make_pair(interval=5, expires_in=40), seconds(9)),
        GrantFound(LinkRequested(PollRules(True, True))),
        GrantSubmitted(LinkRequested(PollRules(True, True)), Secret(CANARY), Flow.AUTHORIZATION_CODE),
        Cancelled(),
        OwnerLeft(),
        OwnerBack(),
        TimePassed(),
        StoreProved(),
        Saved(),
        StoreFailed("disk full", ""),
        Answered(make_pair(interval=5, expires_in=60), 0.1),
        Answered(make_grant(), 0.1),
        Answered(Pending(), 0.1),
        Answered(SlowDown(), 0.1),
        Answered(NO_ANSWER, 0.1),
        Answered(PAIR_OVER, 0.1),
        Answered(REVOKED, 0.1),
        Answered(MISCONFIGURED, 0.1),
        ProofChanged(ProofStanding.HOLDS, Trouble.NONE),
        ProofChanged(ProofStanding.DOUBTED, Trouble.NONE),
        ProofChanged(ProofStanding.REFUSED, Trouble.REVOKED, REVOKED),
        LinkLost(),
    ]
)


@settings(max_examples=100)
@given(st.lists(st.tuples(LENGTHS, STRAYS), max_size=40))
def test_events_in_no_order_at_all_are_survived(history: list[tuple[float, linking.Event]]) -> None:
    state: linking.State = Unlinked()
    now, saved = 0.0, False
    for length, event in history:
        before = state
        now += length
        state, commands = linking.step(state, event, moment(now))
        saved = saved or isinstance(event, Saved | GrantFound)

        assert not any(isinstance(c, PollToken) and now >= c.pair.expires_at for c in commands)
        assert saved or not isinstance(state, Linked)
        assert linking.word_of(state)
        assert linking.next_moment(state) >= 0
        assert CANARY not in repr((before, event, state, commands))
