"""A fleet of speakers and one provider, for a day, in virtual time: what the waits of the core do to the many.

Run: python -m tests.bench.fleet [--speakers 1000000]. Every speaker is driven by the real core: a calendar holds the
moments that ``next_moment`` names, and at each ``step`` says what is asked of the provider. What a provider model
must answer is little: whether it is well, whether it has too much to do, whether the owner has approved.

The fleet is simulated in parts, each with its share of the provider. A process runs one part after the other, so its
memory does not grow with the fleet. The figures depend on the plan and the seed alone, not on how many processes
there are, but for times and memory.
"""

import argparse
import gc
import hashlib
import math
import multiprocessing
import os
import random
import resource
import time
from array import array
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from device_auth.core import linking, refresh
from device_auth.core.models import (
    NEVER,
    Answer,
    CodePair,
    DialectName,
    Flow,
    Link,
    Monotonic,
    Pending,
    PollRules,
    Seconds,
    Secret,
    TimePassed,
    TokenGrant,
    Unclear,
    UnixTime,
)
from device_auth.core.policy import START_SPREAD, refresh_moment
from device_auth.core.states import Trouble

LEAST_PARTS: Final = 2
MOST_OF_A_PART: Final = 25_000
"""Speakers: what they need still fits into a processor's cache."""
HOUR: Final = 3600
TOKEN_LIFE: Final = Seconds(HOUR)
PAIR_LIFE: Final = Seconds(600)
INTERVAL: Final = Seconds(30)
CYCLE: Final = 2700
"""A token of an hour is refreshed after 2520 to 2880 seconds."""
COMPARED: Final = 20_000
"""Speakers at the most where plans are compared: the provider grows with the fleet, so more would tell the same."""
SLACK: Final = 1e-6
"""Moments are sums of floats."""

LWA: Final = PollRules(
    first_at_once=True, slow_down_doubles=True, at_most=Seconds(5), hurries_after=Seconds(5)
)
TOLD: Final = PollRules(first_at_once=True, slow_down_doubles=True)
"""LWA's rules if the told interval were kept, as this program did before."""
SECRET: Final = Secret("x")
UNPROVED: Final = Link(
    link_id="link",
    dialect=DialectName.LWA,
    flow=Flow.DEVICE_CODE,
    client_id="client",
    scope="alexa:all",
    token_endpoint="https://provider.example/token",
    revocation_endpoint="",
    refresh_token=SECRET,
    linked_at=UnixTime(0.0),
)
LINK: Final = replace(UNPROVED, is_proved=True)
"""Nothing of a link matters here but that there is one, so all share it."""
TOO_MUCH: Final = Unclear(Trouble.PROVIDER_UNAVAILABLE, "503")
MOMENT: Final = TimePassed()
CLIENT_WISH: Final = refresh.TokenWanted(Seconds(60))


# ---------------------------------------------------------------------------------------------------------
# What is simulated, and what comes of it


@dataclass(frozen=True)
class Owners:
    """How the owners behave who link a speaker.

    Attributes:
        medians: of the seconds from leaving the speaker's page to approving; an owner has one of these.
        returning: the share that goes back to the page, 1 to 6 seconds after approving.
    """

    medians: tuple[float, ...] = (15, 60)
    returning: float = 0.5


@dataclass(frozen=True)
class Plan:
    """One simulation.

    Attributes:
        kept: speakers that are linked from the start.
        presses: speakers that are linked some time before ``presses_until``.
        rules: how speakers poll.
        capacity: requests that the provider answers in a second, as a multiple of what the fleet needs on average.
        outage: from when until when the provider answers 503 to everything.
        says_when: those 503 say when it ends.
        cut_at: the second in which a tenth of the fleet starts anew, with a client that wants a token at once.
        start_spread: over how many seconds the first refreshes are spread.
        is_jittered: every draw is chance; else every draw is one half.
    """

    kept: int
    presses: int = 0
    hours: float = 24
    seed: int = 1
    presses_until: float = 23 * HOUR
    owners: Owners = Owners()
    postpones_within: Seconds = linking.QUICKEST_APPROVAL
    rules: PollRules = LWA
    capacity: float = 4
    outage: tuple[float, float] = (6 * HOUR, 7 * HOUR)
    says_when: bool = False
    cut_at: int = 16 * HOUR
    start_spread: float = START_SPREAD
    is_jittered: bool = True

    @property
    def mean(self) -> float:
        """Requests a second that the fleet needs on average."""
        return max(1.0, self.speakers / CYCLE)

    @property
    def speakers(self) -> int:
        return self.kept + self.presses

    @property
    def parts(self) -> int:
        """The number of parts in which it is simulated, in however many processes."""
        return max(LEAST_PARTS, math.ceil(self.speakers / MOST_OF_A_PART))


def _empty() -> "array[float]":
    return array("d")


@dataclass
class Figures:
    """What came of a simulation, or of a part of it.

    Attributes:
        requests: to the provider, in each second.
        after_outage: seconds from the end of the outage to a token, of each speaker that missed one for it.
        after_cut: seconds from the start to a token, of each speaker whose power was cut.
        without: speakers that have still none at the end; above they count as if they had it then.
        approvals: seconds from approval to linked.
        lost: links that are not in use any more.
        polls: all of them.
        early: polls before the interval was over.
        unlinked: speakers whose owner approved in vain, or not at all.
        steps: taken by the core.
        took: seconds on the wall.
        worked: seconds of CPU time, of all processes.
        memory: MiB of a process, at the most.
    """

    requests: "array[int]"
    after_outage: "array[float]" = field(default_factory=_empty)
    after_cut: "array[float]" = field(default_factory=_empty)
    approvals: "array[float]" = field(default_factory=_empty)
    without: int = 0
    lost: int = 0
    early: int = 0
    polls: int = 0
    unlinked: int = 0
    steps: int = 0
    took: float = 0.0
    worked: float = 0.0
    memory: float = 0.0

    def add(self, other: "Figures") -> None:
        """Add those of another part."""
        self.requests = array("L", map(sum, zip(self.requests, other.requests, strict=True)))
        self.after_outage.extend(other.after_outage)
        self.after_cut.extend(other.after_cut)
        self.approvals.extend(other.approvals)
        self.without += other.without
        self.lost += other.lost
        self.early += other.early
        self.polls += other.polls
        self.unlinked += other.unlinked
        self.steps += other.steps
        self.worked += other.worked
        self.memory = max(self.memory, other.memory)

    @property
    def digest(self) -> str:
        """A few digits that are the same if all figures are but those of time and memory."""
        counts = (self.without, self.lost, self.early, self.polls, self.unlinked, self.steps)
        each = (self.requests, self.after_outage, self.after_cut, self.approvals)
        return hashlib.sha256(b"".join([repr(counts).encode(), *each])).hexdigest()[:12]


# ---------------------------------------------------------------------------------------------------------
# The provider


@dataclass
class Handed:
    """A code pair as the provider knows it."""

    approved_at: float
    rests_until: float = 0.0


class Provider:
    """One part of the provider: answers, counts, has too much to do, is out."""

    def __init__(self, plan: Plan, figures: Figures) -> None:
        self.figures = figures
        self.capacity = plan.capacity * plan.mean / plan.parts
        self.out_from, self.out_until = plan.outage
        self.says_when = plan.says_when
        self.rules = plan.rules
        self.second = 0
        self.answered = 0

    def is_out(self, now: float) -> bool:
        return self.out_from <= now < self.out_until

    def refuse(self, now: float) -> Unclear | None:
        """Count a request; give what is answered if it cannot be served."""
        second = int(now)
        self.figures.requests[second] += 1
        if self.out_from <= now < self.out_until:
            if not self.says_when:
                return TOO_MUCH
            return replace(TOO_MUCH, retry_after=Seconds(min(self.out_until - now, HOUR)))
        if second != self.second:
            self.second, self.answered = second, 0
        self.answered += 1
        return TOO_MUCH if self.answered > self.capacity else None

    def refresh(self, now: float) -> Answer:
        return self.refuse(now) or TokenGrant(SECRET, None, TOKEN_LIFE, Monotonic(now + TOKEN_LIFE))

    def code_pair(self, now: float) -> Answer:
        return self.refuse(now) or CodePair(
            "code", SECRET, "https://provider.example", None, PAIR_LIFE, Monotonic(now + PAIR_LIFE), INTERVAL
        )

    def poll(self, handed: Handed, now: float, answered_at: float) -> Answer:
        if now < handed.rests_until - SLACK:
            self.figures.early += 1
        interval = self.rules.interval(INTERVAL)
        since = answered_at if interval >= INTERVAL else max(now, answered_at - linking.LONGEST_WAY)
        handed.rests_until = since + interval
        self.figures.polls += 1
        refusal = self.refuse(now)
        if refusal is not None:
            return refusal
        if (now + answered_at) / 2 < handed.approved_at:  # half of a round trip is the way there
            return Pending()
        return TokenGrant(SECRET, SECRET, TOKEN_LIFE, Monotonic(now + TOKEN_LIFE))


# ---------------------------------------------------------------------------------------------------------
# A speaker that is being linked


class Linker:
    """One speaker from the press to the proof, with its owner: does what the machines say, as the loop does."""

    def __init__(self, part: "Part") -> None:
        self.part = part
        self.state: linking.State = linking.Unlinked()
        self.keeping: refresh.Keeping | None = None
        self.is_pressed = False
        self.linked_at: float | None = None
        self.handed = Handed(math.inf)
        self.answers: list[tuple[float, Callable[[float], None]]] = []
        """What is on its way to the speaker: an answer at the most, and what its owner is going to do."""

    @property
    def is_done(self) -> bool:
        """The link is told and proved: from now on it is kept like any other; or there is none."""
        if isinstance(self.state, linking.Unlinked):
            return self.is_pressed
        return (
            isinstance(self.state, linking.Linked)
            and self.keeping is not None
            and self.keeping.link.is_proved
        )

    def wake(self, now: float) -> float:
        """Let happen what is due; give the moment of what is next."""
        if not self.is_pressed:
            self.is_pressed = True
            request = linking.LinkRequested(
                self.part.plan.rules, renewals=2, postpones_within=self.part.plan.postpones_within
            )
            self.feed(request, now)
        while self.answers and self.answers[0][0] <= now:
            self.answers.pop(0)[1](now)
        if now >= linking.next_moment(self.state):
            self.feed(TimePassed(), now)
        if self.keeping is not None and now >= refresh.next_moment(self.keeping):
            self.keep(MOMENT, now)
        kept = NEVER if self.keeping is None else refresh.next_moment(self.keeping)
        return min(linking.next_moment(self.state), kept, self.answers[0][0] if self.answers else NEVER)

    def expect(self, at: float, deed: Callable[[float], None]) -> None:
        self.answers.append((at, deed))
        self.answers.sort(key=lambda expected: expected[0])

    def feed(self, event: linking.Event, now: float) -> None:
        was_linked = isinstance(self.state, linking.Linked)
        self.part.figures.steps += 1
        self.state, commands = linking.step(self.state, event, Monotonic(now))
        for command in commands:
            self.carry_out(command, now)
        if isinstance(self.state, linking.Linked) and not was_linked:
            self.part.figures.approvals.append(now - self.handed.approved_at)
            self.keep(refresh.LinkTold(), now)

    def carry_out(self, command: linking.Command, now: float) -> None:
        provider, answered_at = self.part.provider, now + self.part.round_trip()
        match command:
            case linking.ProveStore():
                self.feed(linking.StoreProved(), now)
            case linking.RequestCodePair():
                self.expect(answered_at, partial(self.hear, provider.code_pair(now)))
            case linking.PollToken():
                self.expect(answered_at, partial(self.hear, provider.poll(self.handed, now, answered_at)))
            case linking.SaveGrant():
                self.feed(linking.Saved(), now)
            case linking.ProveGrant():
                self.keeping = refresh.begin(UNPROVED, Monotonic(now))
                self.keep(MOMENT, now)
            case _:  # the code pair's file, and telling: nothing that the provider sees
                pass

    def hear(self, answer: Answer, now: float) -> None:
        if isinstance(answer, CodePair):
            self.meet_owner(now)
        self.feed(linking.Answered(answer, self.part.draw()), now)

    def meet_owner(self, now: float) -> None:
        """The code is shown: the owner leaves the page to approve, and perhaps comes back to it."""
        owners, chance = self.part.plan.owners, self.part.chance
        leaves_at = now + chance.uniform(4, 34)
        takes = chance.choice(owners.medians) * chance.lognormvariate(0, 0.5)
        approved_at = leaves_at + takes
        if self.part.provider.is_out(approved_at):
            approved_at = self.part.provider.out_until + chance.uniform(0, 120)
        self.handed = Handed(approved_at)
        self.answers.clear()
        self.expect(leaves_at, partial(self.feed, linking.OwnerLeft()))
        if chance.random() < owners.returning:
            self.expect(approved_at + chance.uniform(1, 6), partial(self.feed, linking.OwnerBack()))

    def keep(self, event: refresh.Event, now: float) -> None:
        assert self.keeping is not None
        self.part.figures.steps += 1
        self.keeping, commands = refresh.step(self.keeping, event, Monotonic(now))
        for command in commands:
            match command:
                case refresh.AskRefresh():
                    answer = self.part.provider.refresh(now)
                    self.expect(now + self.part.round_trip(), partial(self.hear_refresh, answer))
                case refresh.SaveLink():
                    self.keep(refresh.LinkSaved(), now)
                case refresh.Serve() | refresh.Withdraw():
                    pass
        if isinstance(event, refresh.RefreshAnswered):
            standing = refresh.proof_of(self.keeping)
            self.feed(linking.ProofChanged(standing, self.keeping.trouble, self.keeping.refusal), now)

    def hear_refresh(self, answer: Answer, now: float) -> None:
        self.keep(refresh.RefreshAnswered(answer, self.part.draw()), now)


# ---------------------------------------------------------------------------------------------------------
# A part of the fleet


class Part:
    """One part of the fleet with its part of the provider."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan = plan
        self.end = plan.hours * HOUR
        self.figures = Figures(array("L", bytes(array("L").itemsize * (int(self.end) + 1))))
        self.provider = Provider(plan, self.figures)
        self.chance = random.Random(f"{plan.seed} {number}")  # noqa: S311  a simulation, and the same each time
        self.draw: Callable[[], float] = self.chance.random if plan.is_jittered else lambda: 0.5
        self.keeping: list[refresh.Keeping | None] = []
        self.due = array("d")
        self.missed = bytearray()
        """Of each speaker: 1 if it misses a token for the outage, 2 if for the cut."""
        self.linkers: dict[int, Linker] = {}
        self.calendar: defaultdict[int, list[int]] = defaultdict(list)
        """Who is due in each second that is still to come."""
        self._people(plan.kept * (number + 1) // plan.parts - plan.kept * number // plan.parts)
        self._presses(plan.presses * (number + 1) // plan.parts - plan.presses * number // plan.parts)

    def round_trip(self) -> float:
        return 0.1 + 0.3 * self.chance.random()

    def _people(self, linked: int) -> None:
        """Have speakers that have been linked for long: each is at some point between two refreshes."""
        for _ in range(linked):
            draw = self.draw()
            age = self.chance.uniform(0, refresh_moment(TOKEN_LIFE, draw))
            grant = TokenGrant(SECRET, None, TOKEN_LIFE, Monotonic(TOKEN_LIFE - age))
            state = refresh.begin(LINK, Monotonic(0.0), draw, grant)
            self._add(refresh.next_moment(state), state)

    def _presses(self, presses: int) -> None:
        for _ in range(presses):
            self.linkers[len(self.keeping)] = Linker(self)
            self._add(self.chance.uniform(0, self.plan.presses_until), None)

    def _add(self, due: float, keeping: refresh.Keeping | None) -> None:
        self.due.append(due)
        self._enter(len(self.keeping), due)
        self.keeping.append(keeping)
        self.missed.append(0)

    def _enter(self, who: int, due: float) -> None:
        self.due[who] = due
        if due < self.end:
            self.calendar[int(due)].append(who)

    def run(self) -> Figures:
        """Let time pass to the end."""
        keeping, due = self.keeping, self.due
        for second in range(int(self.end)):
            if second == self.plan.cut_at:
                self._cut_power(second)
            line = sorted((due[who], who) for who in self.calendar.pop(second, ()))
            for now, who in line:  # it grows by those who are due again within the second
                following = self._link(who, now) if keeping[who] is None else self._keep(who, now)
                if following < second + 1:
                    insort(line, (following, who))
                else:
                    self._enter(who, following)
        for who in range(len(self.missed)):
            if self.missed[who]:
                self.figures.without += 1
                self._make_good(who, self.end)
        for linker in self.linkers.values():
            self.figures.unlinked += linker.is_pressed and linker.is_done
        return self.figures

    def _keep(self, who: int, now: float) -> float:
        """Step one speaker; an answer is heard in the same visit, for nothing else happens to it meanwhile."""
        figures = self.figures
        state = self.keeping[who]
        assert state is not None
        state, commands = refresh.step(state, MOMENT, Monotonic(now))
        figures.steps += 1
        if commands and isinstance(commands[-1], refresh.AskRefresh):
            answer = self.provider.refresh(now)
            answered_at = Monotonic(now + 0.1 + 0.3 * self.chance.random())
            state, commands = refresh.step(state, refresh.RefreshAnswered(answer, self.draw()), answered_at)
            figures.steps += 1
            if not isinstance(answer, TokenGrant):
                self._miss(who, now)
                figures.lost += state.link.mark is not None
            elif self.missed[who]:
                self._make_good(who, answered_at)
        self.keeping[who] = state
        return refresh.next_moment(state)

    def _miss(self, who: int, now: float) -> None:
        if self.provider.is_out(now):
            self.missed[who] = 1

    def _make_good(self, who: int, now: float) -> None:
        if self.missed[who] == 1:
            self.figures.after_outage.append(now - self.provider.out_until)
        else:
            self.figures.after_cut.append(now - self.plan.cut_at)
        self.missed[who] = 0

    def _link(self, who: int, now: float) -> float:
        linker = self.linkers[who]
        following = linker.wake(now)
        if not linker.is_done:
            return following
        if isinstance(linker.state, linking.Linked):
            self.keeping[who] = linker.keeping
            del self.linkers[who]
            return following
        return math.inf

    def _cut_power(self, now: float) -> None:
        """Start a tenth of the linked speakers anew, in the same instant; the runtime directory is gone with the power."""
        kept = [who for who, state in enumerate(self.keeping) if state is not None]
        stretch = self.plan.start_spread / START_SPREAD
        for who in kept[::10]:
            state = refresh.begin(LINK, Monotonic(now), self.draw() * stretch)
            state, commands = refresh.step(state, CLIENT_WISH, Monotonic(now))
            assert not commands, "a client's wish brings the first refresh forward"
            self.keeping[who], self.missed[who] = state, 2
            if self.due[who] < self.end:
                self.calendar[int(self.due[who])].remove(who)
            self._enter(who, refresh.next_moment(state))


def run_part(plan: Plan, number: int) -> Figures:
    """Simulate one part. Meanwhile no circles are looked for: there is much to look at, and only a linker is in one."""
    begun = time.process_time()
    gc.disable()
    figures = Part(plan, number).run()
    gc.enable()
    gc.collect()
    figures.worked = time.process_time() - begun
    figures.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def simulate(plan: Plan, jobs: int = 1) -> Figures:
    """Simulate a plan, its parts one after the other or in so many processes beside each other."""
    begun, worked = time.perf_counter(), cpu_seconds()
    parts = [(plan, number) for number in range(plan.parts)]
    if jobs == 1:
        figures = merge(run_part(*part) for part in parts)
    else:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            figures = merge(pool.starmap(run_part, parts, chunksize=1))
    figures.took, figures.worked = time.perf_counter() - begun, cpu_seconds() - worked
    return figures


def cpu_seconds() -> float:
    """Return the CPU time of this process, and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def merge(parts: Iterable[Figures]) -> Figures:
    first, *others = parts
    for other in others:
        first.add(other)
    return first


# ---------------------------------------------------------------------------------------------------------
# What is told of it


def at_share(values: Sequence[float], share: float) -> float:
    """Return the value below which such a share lies."""
    return sorted(values)[int(share * (len(values) - 1))] if values else math.nan


def peaks(figures: Figures, begin: float, end: float) -> tuple[float, int, float]:
    """Return the requests a second between two moments: their mean, most in a second, most over a minute."""
    counts = figures.requests[int(begin) : int(end)]
    minute = most = sum(counts[:60])
    for leaves, comes in zip(counts, counts[60:], strict=False):
        minute += comes - leaves
        most = max(most, minute)
    return sum(counts) / len(counts), max(counts), most / 60


def table(head: str, rows: Iterable[Sequence[object]]) -> None:
    """Print a table, a row as soon as it is known."""
    names = head.split("|")
    print("| " + " | ".join(names) + " |")
    print("|" + "|".join([" --- "] + [" ---: "] * (len(names) - 1)) + "|")
    for row in rows:
        print(
            "| "
            + " | ".join(f"{cell:,.1f}" if isinstance(cell, float) else str(cell) for cell in row)
            + " |",
            flush=True,
        )
    print()


def day(speakers: int, seed: int) -> Plan:
    """Plan the day: one speaker in fifty is linked during it."""
    linking_today = speakers // 50
    return Plan(speakers - linking_today, linking_today, seed=seed)


def tell_day(plan: Plan, figures: Figures) -> None:
    """Print what happened in a day."""
    print(f"## A day of {plan.speakers:,} speakers\n")
    print(
        f"{plan.mean:,.0f} requests a second are needed on average, the provider answers {plan.capacity * plan.mean:,.0f}."
        f"\nLinks lost: {figures.lost}. Without a token at the end: {figures.without}. Polls sooner than the interval: {figures.early}. Linked: {len(figures.approvals):,},"
        f" not: {figures.unlinked}.\n"
    )
    outage, cut = plan.outage, plan.cut_at
    spans = {
        "the whole day": (0, plan.hours * HOUR),
        "the calm before": (0, outage[0]),
        "the outage": outage,
        "an hour after it": (outage[1], outage[1] + HOUR),
        "an hour after the cut": (cut, cut + HOUR),
        "the last hour": (plan.hours * HOUR - HOUR, plan.hours * HOUR),
    }
    table(
        "requests a second|mean|most in a second|most over a minute",
        ([name, *peaks(figures, *span)] for name, span in spans.items()),
    )
    table(
        "seconds|how many|median|p95|p99|last",
        (
            [name, f"{len(values):,}", *(at_share(values, share) for share in (0.5, 0.95, 0.99, 1.0))]
            for name, values in {
                "from the end of the outage to a token": figures.after_outage,
                "from the start after the cut to a token": figures.after_cut,
                "from approval to linked, all day": figures.approvals,
            }.items()
        ),
    )


def tell_growth(grown: Sequence[tuple[Plan, Figures]]) -> None:
    """Print what simulating costs, by the size of the fleet."""
    print("## What simulating costs\n")
    table(
        "speakers|parts|core steps|seconds|CPU seconds|steps a CPU second|MiB a process|digest of the figures",
        (
            [
                f"{plan.speakers:,}",
                plan.parts,
                f"{figures.steps:,}",
                figures.took,
                figures.worked,
                f"{figures.steps / figures.worked:,.0f}",
                figures.memory,
                figures.digest,
            ]
            for plan, figures in grown
        ),
    )


def tell_jitter(speakers: int, seed: int, jobs: int) -> None:
    """Print what jitter is worth: eight hours, with and without, and with an outage that says when it ends."""
    print(f"## With jitter and without: {speakers:,} speakers for eight hours\n")
    plain = Plan(speakers, hours=8, seed=seed, outage=(2 * HOUR, 3 * HOUR), cut_at=6 * HOUR)

    def rows() -> Iterator[Sequence[object]]:
        for says_when in (False, True):
            for is_jittered in (True, False):
                plan = replace(plain, says_when=says_when, is_jittered=is_jittered)
                figures = simulate(plan, jobs)
                outage = "says when it ends" if says_when else "says nothing"
                yield [
                    f"{outage}, {'jitter' if is_jittered else 'none'}",
                    *peaks(figures, plan.outage[1], plan.cut_at)[1:],
                    at_share(figures.after_outage, 0.5),
                    at_share(figures.after_outage, 0.99),
                    *peaks(figures, plan.cut_at, plan.cut_at + HOUR)[1:],
                    at_share(figures.after_cut, 0.5),
                    at_share(figures.after_cut, 0.99),
                    figures.without,
                    figures.lost,
                ]

    table(
        "the outage|after it: most in a second|over a minute|token, median|p99"
        "|after the cut: most in a second|over a minute|token, median|p99|without at the end|links lost",
        rows(),
    )


def tell_spread(speakers: int, seed: int, jobs: int) -> None:
    """Print what the first refreshes' spread does after a power cut."""
    print(
        f"## The spread of the first refreshes: {speakers // 10:,} of {speakers:,} speakers start at once\n"
    )
    plain = Plan(speakers, hours=2, seed=seed, outage=(0, 0), cut_at=HOUR)

    def rows() -> Iterator[Sequence[object]]:
        for capacity in (4, 20, 1000):
            for spread in (0, 2, 5, 10, 30):
                figures = simulate(replace(plain, start_spread=spread, capacity=capacity), jobs)
                shares = (at_share(figures.after_cut, share) for share in (0.5, 0.99, 1.0))
                asked = sum(figures.requests[HOUR : HOUR + 600]) - 600 * plain.mean
                yield [
                    f"{capacity} × the mean",
                    f"{spread} s",
                    *peaks(figures, HOUR, 2 * HOUR)[1:],
                    *shares,
                    asked / len(figures.after_cut),
                ]

    table(
        "the provider answers|spread|most in a second|over a minute|token, median|p99|last|more requests, a start",
        rows(),
    )


def tell_owners(links: int, seed: int, jobs: int) -> None:
    """Print how long owners wait after approving, by how many return, how often is polled and what is postponed."""
    print(f"## From approval to linked, in seconds: {links:,} links each, interval 30 s told\n")
    owners = {"signed in, 15 s": (15.0,), "signs in first, 60 s": (60.0,), "half and half": (15.0, 60.0)}
    ways = {
        "every 5 s": (LWA, 0.0),
        "as told": (TOLD, 0.0),
        "as told, one due within 8 s postponed": (TOLD, 8.0),
        "as told, one due within 15 s postponed": (TOLD, 15.0),
        "as told, any one postponed": (TOLD, math.inf),
    }

    def rows() -> Iterator[Sequence[object]]:
        for name, medians in owners.items():
            for way, (rules, within) in ways.items():
                row: list[object] = [name, way]
                polls = links_made = 0
                for returning in (0.0, 0.5, 1.0):
                    plan = Plan(
                        0, links, hours=3, seed=seed, presses_until=2 * HOUR, outage=(0, 0), capacity=1000
                    )
                    plan = replace(
                        plan, owners=Owners(medians, returning), postpones_within=Seconds(within), rules=rules
                    )
                    figures = simulate(plan, jobs)
                    values = figures.approvals
                    polls, links_made = polls + figures.polls, links_made + len(values)
                    row += [sum(values) / len(values), at_share(values, 0.5), at_share(values, 0.95)]
                row.append(polls / links_made)
                yield row

    table(
        "the owner|polls|0 % return: mean|median|p95|50 %: mean|median|p95|100 %: mean|median|p95|polls a link",
        rows(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speakers", type=int, default=100_000, help="how many (default: 100000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="processes (default: one for each core)",
    )
    parser.add_argument(
        "--day-only", action="store_true", help="one fleet's day, and what simulating it costs"
    )
    wishes = parser.parse_args()
    compared = min(wishes.speakers, COMPARED)
    smaller = () if wishes.day_only else (wishes.speakers // 100, wishes.speakers // 10)
    grown = []
    for size in (*smaller, wishes.speakers):
        plan = day(size, wishes.seed)
        grown.append((plan, simulate(plan, wishes.jobs)))
    tell_day(*grown[-1])
    tell_growth(grown)
    if wishes.day_only:
        return
    tell_jitter(compared, wishes.seed, wishes.jobs)
    tell_spread(compared, wishes.seed, wishes.jobs)
    tell_owners(compared // 4, wishes.seed, 1)


if __name__ == "__main__":
    main()
