"""Whatever happens and whenever: a speaker with a disk that fails, a provider that rotates, and a process that is killed.

The history is played to ``core.speaker`` as the loop plays it: commands in order, each result of the store as the next
event. What is insisted on is known from outside: from the disk, from the tokens laid out, and from the provider.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth.core import linking, refresh, speaker
from device_auth.core.linking import Cancelled, Linked, LinkRequested, Proving, Saving, Unlinked, Waiting
from device_auth.core.models import (
    NEVER,
    Answer,
    CodePair,
    DialectName,
    Flow,
    Link,
    Pending,
    PendingPair,
    PollRules,
    Profile,
    Secret,
    TimePassed,
    TokenGrant,
    UnixTime,
)
from device_auth.core.speaker import Question, RequestRefresh, SpeakerState
from tests.values import (
    DENIED,
    MISCONFIGURED,
    NO_ANSWER,
    PAIR_OVER,
    REVOKED,
    make_pair,
    make_provider,
    make_unclear,
    moment,
    seconds,
)

PROVIDER: Final = replace(make_provider(), scope="alexa:all profile")
RULES: Final = PollRules(first_at_once=True, slow_down_doubles=True)
FAILS_BEFORE, FAILS_AFTER = "fails before", "fails after"
"""A write that is reported to have failed: before it changed the disk, or only at its read-back."""


class Killed(Exception):
    """The process ends between two commands."""


# ---------------------------------------------------------------------------------------------------------
# What may happen


@dataclass(frozen=True)
class Press:
    """Someone asks for a link."""

    again: bool = False
    renewals: int = 0
    leaves_no_trace: bool = False


@dataclass(frozen=True)
class Submit:
    """Someone submits a grant that came by another way."""

    leaves_no_trace: bool = False


@dataclass(frozen=True)
class GoOn:
    """The request that is out is answered, by the provider or with this; or time passes until something is due."""

    answer: Answer | None = None
    took: float = 0.2
    approves: bool = True


@dataclass(frozen=True)
class Wait:
    """So much time passes."""

    length: float


@dataclass(frozen=True)
class TimeOut:
    """The request that is out is not answered within the 20 s."""


@dataclass(frozen=True)
class AnswerLate:
    """A request that nobody waits for any more is answered."""

    which: int = 0


@dataclass(frozen=True)
class Revoke:
    """An owner takes back what was granted: the one of the link in use, or of every link."""

    every: bool = False


@dataclass(frozen=True)
class FailWrites:
    """The next writes to the disk fail, each in its way."""

    ways: tuple[str, ...]


@dataclass(frozen=True)
class Kill:
    """The process is killed after so many more commands, and started anew."""

    commands: int
    is_service: bool = True


@dataclass(frozen=True)
class Unlink:
    """Someone has the account forgotten."""


@dataclass(frozen=True)
class Happen:
    """Something else happens."""

    event: speaker.Event


Happening = Press | Submit | GoOn | Wait | TimeOut | AnswerLate | Revoke | FailWrites | Kill | Unlink | Happen

ANSWERS: st.SearchStrategy[Answer | None] = st.sampled_from(
    [
        None,
        None,
        None,
        None,
        None,
        NO_ANSWER,
        make_unclear(),
        Pending(),
        DENIED,
        PAIR_OVER,
        MISCONFIGURED,
        REVOKED,
    ]
)


def goes_on() -> st.SearchStrategy[Happening]:
    """Return a strategy of its own each time: ``one_of`` counts the same one once only."""
    return st.builds(GoOn, ANSWERS, st.sampled_from([0.0, 0.2, 3.0]), st.sampled_from([True, True, False]))


WAYS = st.sampled_from(["works", FAILS_BEFORE, FAILS_AFTER])
HAPPENINGS: st.SearchStrategy[Happening] = st.one_of(
    *[goes_on() for _ in range(9)],
    st.builds(Press, st.sampled_from([True, True, False]), st.integers(0, 1), st.booleans()),
    st.builds(Submit, st.booleans()),
    st.builds(Wait, st.sampled_from([0.0, 1.0, 6.0, 10.5, 30.0, 61.0, 130.0, 700.0])),
    st.builds(TimeOut),
    st.builds(AnswerLate, st.integers(0, 2)),
    st.builds(Revoke, st.booleans()),
    st.builds(FailWrites, st.lists(WAYS, min_size=1, max_size=6).map(tuple)),
    st.builds(Kill, st.integers(0, 5), st.sampled_from([True, True, False])),
    st.builds(Unlink),
    st.builds(Happen, st.sampled_from([Cancelled(), Cancelled(), refresh.TokenWanted(seconds(3000))])),
)
LINKED: Final[list[Happening]] = [Press(), *[GoOn()] * 6]
AGAIN: Final[list[Happening]] = [*LINKED, Press(again=True)]
DOWN: Final = GoOn(NO_ANSWER)
BEGINNINGS: st.SearchStrategy[list[Happening]] = st.sampled_from(
    [
        [],
        LINKED,
        [*AGAIN, GoOn(), GoOn()],
        [*AGAIN, *[GoOn()] * 3],
        [*AGAIN, *[GoOn()] * 3, Wait(10.5)],
        [*AGAIN, *[GoOn()] * 3, DOWN, Wait(10.5)],
        [*AGAIN, *[GoOn()] * 3, TimeOut(), DOWN, GoOn(REVOKED)],
        [*AGAIN, *[GoOn()] * 3, DOWN, Wait(10.5), Press(again=True), GoOn(), GoOn(), GoOn()],
        [*AGAIN, GoOn(), FailWrites((FAILS_AFTER,) * 5), GoOn(), GoOn()],
        [*AGAIN, GoOn(), FailWrites((FAILS_BEFORE,) * 5), GoOn(), GoOn()],
        [*LINKED, Submit(leaves_no_trace=True)],
        [*LINKED, Revoke(), *[GoOn()] * 4],
        [*LINKED, Wait(700.0), Press(again=True), GoOn(), GoOn(), Wait(61.0)],
    ]
)
"""Up to each turn of the way; chance alone would seldom come so far."""
HISTORIES: st.SearchStrategy[list[Happening]] = st.builds(
    lambda beginning, rest: [*beginning, *rest], BEGINNINGS, st.lists(HAPPENINGS, min_size=4, max_size=30)
)


# ---------------------------------------------------------------------------------------------------------
# The world, and what it insists on


@dataclass
class Account:
    """One grant of an owner: which of its refresh tokens is good."""

    generation: int = 0
    is_revoked: bool = False
    is_torn: bool = False
    """A rotated refresh token may be lost, with a failed disk or a killed process."""


@dataclass
class World:
    """A speaker's process, its disk, its runtime folder and its provider."""

    rotates: bool = True
    lifetime: float = 600
    state: SpeakerState = field(default_factory=SpeakerState)
    now: float = 1000.0
    disk: Link | None = None
    pending: PendingPair | None = None
    laid_out: TokenGrant | None = None
    ways: list[str] = field(default_factory=list)
    """How the next writes end."""
    kill_after: float = NEVER
    accounts: list[Account] = field(default_factory=list)
    approved: set[CodePair] = field(default_factory=set)
    pairs: int = 0
    links: int = 0
    tokens: int = 0
    lines: list[Question] = field(default_factory=list)
    """The request that is out, and those that wait behind it."""
    abandoned: list[Question] = field(default_factory=list)
    overtaken: list[Question] = field(default_factory=list)
    """The refreshes that were out when another one of their link was answered: their refusal counts no second time."""
    told: set[int] = field(default_factory=set)
    """The accounts that people have been told of."""
    refused: dict[int, int] = field(default_factory=dict)
    """How many times in a row the kept link of an account was refused; the second time is final."""
    over: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.start(is_service=True)

    # -- what happens

    def play(self, happening: Happening) -> None:
        match happening:
            case Press(again, renewals, leaves_no_trace):
                self.feed(LinkRequested(RULES, renewals, again=again, leaves_no_trace=leaves_no_trace))
            case Submit(leaves_no_trace):
                request = LinkRequested(RULES, leaves_no_trace=leaves_no_trace)
                self.feed(linking.GrantSubmitted(request, self.open_account(), Flow.AUTHORIZATION_CODE))
            case GoOn():
                self.go_on(happening)
            case Wait(length):
                self.wait(length)
            case TimeOut():
                if self.lines:
                    self.now += 20
                    question = self.lines.pop(0)
                    self.abandoned.append(question)
                    self.feed(speaker.CallTimedOut(question, 0.5))
                    self.feed(TimePassed())
            case AnswerLate(which):
                if self.abandoned:
                    question = self.abandoned.pop(which % len(self.abandoned))
                    answer = self.answer(question)
                    if isinstance(answer, TokenGrant):
                        self.note(question, answer)
                    self.feed(speaker.CallAnswered(question, answer, 0.5, is_late=True))
            case Revoke(every):
                for number, account in enumerate(self.accounts):
                    account.is_revoked = account.is_revoked or every or number == self.in_use
            case FailWrites(ways):
                self.ways = list(ways)
            case Kill(commands, is_service):
                self.kill_after = commands
                if commands == 0:
                    self.die(is_service=is_service)
            case Unlink():
                self.unlink()
            case Happen(event):
                self.feed(event)

    def go_on(self, happening: GoOn) -> None:
        if not self.lines:
            due = speaker.next_moment(self.state)
            if due != NEVER:
                self.wait(max(0.0, due - self.now))
            return
        question = self.lines[0]
        self.now += happening.took
        if happening.approves and isinstance(question, linking.PollToken):
            self.approved.add(question.pair)
        is_wrong_answer = isinstance(question, RequestRefresh) and isinstance(happening.answer, Pending)
        answer = happening.answer
        if answer is None or is_wrong_answer:
            answer = self.answer(question)
        self.lines.pop(0)
        self.note(question, answer)
        self.feed(speaker.CallAnswered(question, answer, 0.5))
        self.wait(0)

    def wait(self, length: float) -> None:
        """Let time pass; a request that is out for too long is abandoned."""
        self.now += length
        for _ in range(8):
            if speaker.next_moment(self.state) > self.now:
                return
            self.feed(TimePassed())
        raise AssertionError(f"{self.state} is never done")

    def unlink(self) -> None:
        try:
            self.step(speaker.UnlinkRequested())
            self.step(self.write(lambda: None, speaker.StoreErased(), speaker.EraseFailed()))
        except Killed:
            self.die()
        self.check()

    def start(self, *, is_service: bool) -> None:
        """Start the process with what lies on the disk and in the runtime folder."""
        self.state, self.lines, self.abandoned, self.kill_after = SpeakerState(), [], [], NEVER
        self.refused, self.over = {}, set()
        request = LinkRequested(RULES)
        self.feed(speaker.LinkRead(self.disk))
        token = self.laid_out if is_service else None
        self.feed(speaker.Started(request, PROVIDER, self.pending, is_service=is_service, token=token))
        self.check_start(is_service=is_service)

    def die(self, *, is_service: bool = True) -> None:
        for account in self.accounts:
            account.is_torn = True
        self.start(is_service=is_service)

    # -- the provider

    def open_account(self) -> Secret:
        self.accounts.append(Account())
        return Secret(f"refresh {len(self.accounts) - 1} 0")

    def answer(self, question: Question) -> Answer:
        match question:
            case linking.RequestCodePair():
                self.pairs += 1
                return make_pair(name=str(self.pairs), sent_at=self.now, expires_in=31, interval=5)
            case linking.PollToken(pair):
                if self.now >= pair.expires_at:
                    return PAIR_OVER
                if pair not in self.approved:
                    return Pending()
                return self.grant(len(self.accounts), self.open_account())
            case speaker.RequestProfile(number):
                return Profile(f"user {number}") if number % 2 else NO_ANSWER
            case RequestRefresh(_, link):
                number, generation = token_of(link.refresh_token)
                account = self.accounts[number]
                if account.is_revoked:
                    return REVOKED
                if generation != account.generation:
                    newest = [
                        kept.keeping.link.refresh_token
                        for kept in (self.state.in_use, self.state.on_trial)
                        if kept
                    ]
                    is_lost = link.refresh_token in newest
                    assert account.is_torn or not is_lost, "a refresh token that rotated is lost"
                    return REVOKED
                if not self.rotates:
                    return self.grant(number, None)
                account.generation += 1
                return self.grant(number, Secret(f"refresh {number} {account.generation}"))

    def grant(self, number: int, refresh_token: Secret | None) -> TokenGrant:
        self.tokens += 1
        ends = moment(self.now + self.lifetime)
        return TokenGrant(
            Secret(f"access {number} {self.tokens}"), refresh_token, seconds(self.lifetime), ends
        )

    def note(self, question: Question, answer: Answer) -> None:
        """Work out from the answer alone whether a link is over."""
        if not isinstance(question, RequestRefresh):
            return
        number = account_of(question.link)
        is_overtaken = any(question is it for it in self.overtaken)
        if answer == REVOKED and not is_overtaken:
            self.refused[number] = self.refused.get(number, 0) + 1
            if self.refused[number] > 1:
                self.over.add(number)
        elif isinstance(answer, TokenGrant):
            self.refused[number] = 0
        if answer == REVOKED or isinstance(answer, TokenGrant):
            self.overtaken = [
                it for it in self.lines if isinstance(it, RequestRefresh) and account_of(it.link) == number
            ]

    # -- the commands

    def feed(self, event: speaker.Event) -> None:
        before = self.state, self.laid_out, list(self.lines)
        try:
            self.step(event)
        except Killed:
            self.die()
            return
        if isinstance(event, Cancelled):
            self.check_cancel(*before)
        self.check()

    def step(self, event: speaker.Event) -> None:
        self.state, commands = speaker.step(self.state, event, moment(self.now))
        if isinstance(self.state.stage, Linked) and self.in_use is not None:
            self.told.add(self.in_use)
        due = NEVER if self.state.in_use is None else self.state.in_use.keeping.ask_at
        for ended in (it for it in commands if isinstance(it, speaker.ReportRefreshEnded)):
            assert ended.next_at == (NEVER if due is None else due), "clients wait for another moment"
        for command in commands:
            if self.kill_after <= 0:
                raise Killed
            self.kill_after -= 1
            result = self.carry_out(command)
            self.check_files()
            if result is not None:
                self.step(result)

    def carry_out(self, command: speaker.Command) -> speaker.Event | None:
        match command:
            case (
                linking.RequestCodePair() | linking.PollToken() | RequestRefresh() | speaker.RequestProfile()
            ):
                self.lines.append(command)
            case speaker.DropCalls(number):
                is_wanted = [isinstance(it, RequestRefresh) and it.number == number for it in self.lines]
                if self.lines and not is_wanted[0]:
                    self.abandoned.append(self.lines[0])
                self.lines = [it for it, is_kept in zip(self.lines, is_wanted, strict=True) if is_kept]
            case speaker.UseProvider(provider):
                assert provider == PROVIDER
            case linking.KeepPending(pair, interval):
                self.pending = PendingPair(pair, interval, PROVIDER)
            case linking.ForgetPending():
                self.pending = None
            case refresh.Serve(grant):
                self.check_served(grant)
                self.laid_out = grant
            case refresh.Withdraw():
                self.laid_out = None
            case speaker.ReportRefreshEnded():
                pass  # checked in the state that it was made of
            case linking.ProveStore():
                failed = linking.StoreFailed("disk full", "")
                return self.write(lambda: self.disk, linking.StoreProved(), failed)
            case speaker.StoreGrant():
                link = self.make_link(command)
                failed = linking.StoreFailed("disk full", "")
                return self.write(lambda: link, speaker.GrantStored(link), failed)
            case speaker.StoreLink(number, link):
                if self.disk is None or self.disk.link_id != link.link_id:
                    return speaker.LinkNotStored(number, link)
                failed_save = speaker.LinkNotStored(number, link)
                return self.write(lambda: link, speaker.LinkStored(number, link), failed_save)
            case speaker.LookAtStore():
                return speaker.StoreSeen(self.disk) if self.works_next() else speaker.StoreNotSeen()
            case speaker.PutBack(former):
                return self.write(lambda: former, speaker.PutBackDone(former), speaker.PutBackFailed())
        return None

    def works_next(self) -> bool:
        return not self.ways or self.ways.pop(0) == "works"

    def write(
        self, change: Callable[[], Link | None], done: speaker.Event, failed: speaker.Event
    ) -> speaker.Event:
        if self.kill_after <= 0:
            raise Killed
        way = self.ways.pop(0) if self.ways else "works"
        if way != "works":
            for account in self.accounts:
                account.is_torn = True
        if way != FAILS_BEFORE:
            self.disk = change()
        return done if way == "works" else failed

    def make_link(self, grant: speaker.StoreGrant) -> Link:
        self.links += 1
        return Link(
            link_id=f"link-{self.links}",
            dialect=DialectName.LWA,
            flow=grant.flow,
            client_id="client",
            scope="alexa:all",
            token_endpoint="https://api.amazon.com/auth/O2/token",
            revocation_endpoint="",
            refresh_token=grant.refresh_token,
            linked_at=UnixTime(1_700_000_000.0),
            replaces=grant.former,
        )

    # -- what it insists on

    @property
    def in_use(self) -> int | None:
        """The account of the link in use."""
        kept = self.state.in_use
        return None if kept is None else account_of(kept.keeping.link)

    @property
    def on_trial(self) -> int | None:
        kept = self.state.on_trial
        return None if kept is None else account_of(kept.keeping.link)

    @property
    def in_force(self) -> Link | None:
        """The link on the disk, if it may be used."""
        return None if self.disk is None or self.disk.mark is not None else self.disk

    def check_served(self, grant: TokenGrant) -> None:
        number, _ = token_of(grant.access_token)
        assert number == self.in_use, "a token is served of a link that is not in use"
        assert number in self.told, "a token is served before anyone is told"
        assert grant.expires_at > self.now or isinstance(self.state.stage, Linked), (
            "an expired token is served"
        )

    def check_files(self) -> None:
        """Between any two commands a kill may come: the token that lies about must be of a link on the disk."""
        if self.laid_out is None:
            return
        number, _ = token_of(self.laid_out.access_token)
        assert self.disk is not None, "a token lies about of a link that is forgotten"
        if self.disk.mark is None:
            owners = {account_of(self.disk)}
            owners |= set() if self.disk.replaces is None else all_of(self.disk.replaces)
            assert number in owners, "a token lies about of a former owner"

    def check(self) -> None:
        """Insist on what holds whenever a step is done."""
        state = self.state
        for number in (self.in_use, self.on_trial):
            if number is not None:
                assert number not in self.over, "a final answer was not final"
        self.refused = {
            number: self.refused.get(number, 0)
            for number in (self.in_use, self.on_trial)
            if number is not None
        }
        assert (state.on_trial is not None) == isinstance(state.stage, Proving)
        assert self.in_use is None or self.in_use != self.on_trial, "one link is kept twice"
        if self.laid_out is not None and state.is_service:
            assert token_of(self.laid_out.access_token)[0] == self.in_use, "a token lies about of nobody"
        is_unsure = state.owed is not None or isinstance(state.stage, Saving) or not state.is_service
        if self.in_force is not None and not is_unsure and not state.is_unlinking:
            assert account_of(self.in_force) in {self.in_use, self.on_trial}, (
                "a link is stored that nobody keeps"
            )
        if isinstance(state.stage, Unlinked) and not is_unsure:
            assert self.laid_out is None, "a token lies about though there is no link"

    def check_cancel(self, before: SpeakerState, laid_out: TokenGrant | None, lines: list[Question]) -> None:
        """A cancel ends the attempt, and changes nothing of the link in use."""
        after = self.state
        if before.in_use is not None:
            assert after.in_use == before.in_use, "a cancel changed the link in use"
            # its save is undone, and the look at the store finds the link that an unlink could not erase: it is served on
            is_served_on = before.is_unlinking and not after.is_unlinking
            assert is_served_on or self.laid_out == laid_out, "a cancel changed the token laid out"
            number = before.in_use.number
            kept = [it for it in lines if isinstance(it, RequestRefresh) and it.number == number]
            assert [it for it in self.lines if it in kept] == kept, (
                "a cancel dropped the refresh of the link in use"
            )
        if not isinstance(before.stage, Linked | Unlinked | Saving):
            assert isinstance(after.stage, Linked if before.stage.request.again else Unlinked)
            assert all(isinstance(it, RequestRefresh) and it.number != 0 for it in self.lines)

    def check_start(self, *, is_service: bool) -> None:
        """The speaker is where the disk says."""
        state, link = self.state, self.in_force
        if isinstance(state.stage, Waiting):
            assert state.stage.pair.expires_at > self.now, "an expired pair is resumed"
        if link is None:
            assert state.in_use is state.on_trial is None
            assert not isinstance(state.stage, Linked)
            assert self.laid_out is None or not is_service
        elif not link.is_proved:
            assert state.on_trial is not None
            assert state.on_trial.keeping.link == link
            assert isinstance(state.stage, Proving)
            assert state.stage.request.again == (link.replaces is not None)
            assert self.laid_out is None or not is_service
        elif is_service:
            assert state.in_use is not None
            assert state.in_use.keeping.link == link
            assert isinstance(state.stage, Linked | Waiting)
        else:
            assert isinstance(state.stage, Linked | Waiting)

    def settle(self) -> None:
        """With a disk that works and a provider that answers, all comes to rest where it belongs."""
        self.ways, self.kill_after = [], NEVER
        if not self.state.is_service:
            self.die()
        for _ in range(40):
            self.go_on(GoOn(approves=False))
        self.wait(0)
        state = self.state
        assert isinstance(state.stage, Linked | Unlinked), "an attempt never ends"
        assert state.owed is None, "the disk is never put right"
        if self.in_force is None:
            assert isinstance(state.stage, Unlinked)
            assert state.in_use is None
        else:
            assert isinstance(state.stage, Linked)
            assert state.in_use is not None
            assert state.in_use.keeping.link == self.in_force, (
                "the disk holds something else than what is in use"
            )
            assert self.in_force.is_proved
            assert self.in_force.replaces is None
        assert state.stored == self.disk


def token_of(secret: Secret) -> tuple[int, int]:
    _, number, generation = secret.reveal().split()
    return int(number), int(generation)


def account_of(link: Link) -> int:
    return token_of(link.refresh_token)[0]


def all_of(link: Link) -> set[int]:
    """Return the accounts of a link and of all that it would give way to."""
    return {account_of(link)} | (set() if link.replaces is None else all_of(link.replaces))


# ---------------------------------------------------------------------------------------------------------


UNPROVED: Final[list[Happening]] = [*AGAIN, *[GoOn()] * 3, Wait(10.5), Revoke()]
"""A former link, and a new one that is told, not proved and about to be refused."""

FOUND: Final[dict[str, tuple[list[Happening], bool]]] = {
    "the former link rotates during the trial": (
        [*LINKED, Submit(leaves_no_trace=True), GoOn(), TimeOut(), TimeOut(), Revoke()],
        True,
    ),
    "a third grant is stored while the former link is owed to the disk": (
        [
            *UNPROVED,
            Kill(0, is_service=True),
            GoOn(),
            GoOn(),
            FailWrites((FAILS_BEFORE,)),
            GoOn(),
            Submit(leaves_no_trace=False),
            GoOn(MISCONFIGURED),
        ],
        False,
    ),
    "a third grant, of which the second and the first are refused": (
        [
            *UNPROVED,
            GoOn(),
            GoOn(),
            GoOn(NO_ANSWER),
            FailWrites((FAILS_BEFORE, FAILS_BEFORE)),
            GoOn(),
            Submit(leaves_no_trace=True),
            GoOn(),
            Revoke(every=True),
        ],
        False,
    ),
    "the link that a third grant was stored over is refused, then its former": (
        [
            *AGAIN,
            *([GoOn()] * 3),
            TimeOut(),
            Revoke(),
            DOWN,
            *([GoOn(took=0.0)] * 3),
            Submit(leaves_no_trace=True),
            GoOn(),
            Revoke(every=True),
            *([GoOn(took=0.0)] * 2),
        ],
        False,
    ),
    "a new grant comes while it is not known whether the store was erased": (
        [
            *LINKED,
            Submit(),
            FailWrites((FAILS_BEFORE, FAILS_AFTER, FAILS_BEFORE, FAILS_BEFORE)),
            Unlink(),
            Submit(),
        ],
        False,
    ),
    "the mark of a link that is given up is not on the disk yet": (
        [
            Submit(leaves_no_trace=False),
            *([GoOn(took=0.0)] * 5),
            Revoke(),
            *([GoOn(took=0.0)] * 3),
            Submit(leaves_no_trace=False),
            FailWrites((FAILS_BEFORE,)),
            GoOn(took=0.0),
            Happen(Cancelled()),
        ],
        False,
    ),
    "a new grant is cancelled while it is not known whether the store was erased": (
        [
            *AGAIN,
            GoOn(),
            FailWrites((FAILS_AFTER,) * 5),
            *([GoOn()] * 2),
            Submit(leaves_no_trace=False),
            Unlink(),
            Submit(leaves_no_trace=False),
            Happen(Cancelled()),
        ],
        False,
    ),
}


@pytest.mark.parametrize(("history", "rotates"), FOUND.values(), ids=FOUND)
def test_histories_that_lost_the_right_link(history: list[Happening], rotates: bool) -> None:
    play_and_settle(history, rotates, 100.0)


@settings(max_examples=300)
@given(HISTORIES, st.booleans(), st.sampled_from([100.0, 600.0, 3600.0]))
def test_whatever_happens_the_right_one_of_two_links_lives(
    history: list[Happening], rotates: bool, lifetime: float
) -> None:
    play_and_settle(history, rotates, lifetime)


def play_and_settle(history: list[Happening], rotates: bool, lifetime: float) -> None:
    world = World(rotates, lifetime)
    for happening in history:
        world.play(happening)

    world.settle()
    world.die()
    world.settle()
