"""The loop: waits, steps the machines, carries their commands out. It decides nothing.

One thread and an inbox. A request to the provider runs on a worker thread, one at a time, and comes back as
an event; so a press or a cancel is heard while the network hangs. A request that takes longer than 20 s is
abandoned: its late answer counts only if it holds a grant that is still wanted.
"""

import logging
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, assert_never

from device_auth.core import linking, refresh
from device_auth.core.errors import KeyLost, StoreDamaged, StoreError
from device_auth.core.models import (
    MARKS,
    NEVER,
    Answer,
    CodePair,
    Flow,
    Link,
    Monotonic,
    Pending,
    PendingPair,
    ProofStanding,
    Refusal,
    Seconds,
    Secret,
    SlowDown,
    TokenGrant,
    Unclear,
    Unreachable,
    View,
    later,
)
from device_auth.core.ports import GrantStore, PendingStore, TokenFiles, WaitingClock
from device_auth.core.states import STATES, TROUBLES, OneTimeNotice, Trouble
from device_auth.core.values import dataclass, replace
from device_auth.service.calls import CALL_BOUND, Call, CallBroke, CallEnded, Calls
from device_auth.service.provider_client import ProviderClient

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """What kinds of answer came while linking, to tell a time-out's cause.

    Attributes:
        usable: answers in a documented form.
        unclear: answers in none.
        problem: what was wrong with the last one that was not usable, or with the way to it.
    """

    usable: int = 0
    unclear: int = 0
    problem: str = ""


class _KeptLink:
    """One link being kept: the machine's state, and whether its tokens are in use or on trial."""

    def __init__(self, state: refresh.Keeping, *, is_on_trial: bool) -> None:
        self.state = state
        self.is_on_trial = is_on_trial


@dataclass(frozen=True, slots=True)
class _Callback:
    """Something to be done on the loop's thread."""

    run: Callable[[], None]


class Loop:
    """Runs the machines against the world.

    Args:
        provider_client: speaks with the provider.
        store: keeps the link; its lock is held.
        pending: keeps the code pair in hand over a restart.
        tokens: hands the access token to programs.
        clock: tells time and waits.
        tell: shows a view to people; must not block.
        chance: gives draws in [0, 1).
        new_link_id: names a new link.
        refresh_ended: hears that a refresh of the link in use has come to an end, well or not.
    """

    def __init__(
        self,
        *,
        provider_client: ProviderClient,
        store: GrantStore,
        pending: PendingStore,
        tokens: TokenFiles,
        clock: WaitingClock,
        tell: Callable[[View], None],
        chance: Callable[[], float],
        new_link_id: Callable[[], str],
        refresh_ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._provider_client = provider_client
        self._store = store
        self._pending = pending
        self._tokens = tokens
        self._clock = clock
        self._tell = tell
        self._chance = chance
        self._new_link_id = new_link_id
        self._inbox: SimpleQueue[linking.Event | CallEnded[_KeptLink] | CallBroke | _Callback] = SimpleQueue()
        self._events: deque[linking.Event] = deque()
        self._is_stepping = False
        self._is_awake = False
        self._next_provider_client: ProviderClient | None = None
        self._calls: Calls[_KeptLink] = Calls(self._inbox.put, self._close, clock.now)
        self._stored: Link | None = None
        self._overwritten: Link | None = None
        self._in_use: _KeptLink | None = None
        self._on_trial: _KeptLink | None = None
        self._refresh_ended = refresh_ended
        self._problem: Refusal | None = None
        self._told: View | None = None
        self._telling = 0
        self.state: linking.State = linking.Unlinked()
        self.answer_counts = AnswerCounts()

    # -- for whoever runs it

    def post(self, event: linking.Event) -> None:
        """Leave an event in the inbox; from any thread or signal handler."""
        self._inbox.put(event)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Have something done on the loop's thread; from any thread or signal handler."""
        self._inbox.put(_Callback(callback))

    def link(self, request: linking.LinkRequested) -> None:
        """Begin to link: with the pair or the grant of before a restart if there is one, else with a new pair.

        Raises:
            StoreError: the store cannot be read. One that is damaged is linked anew: the damage is set aside.
        """
        if not self._go_on(request):
            self.feed(request)

    def link_with_grant(self, submitted: linking.GrantSubmitted, stored: Link | None) -> None:
        """Begin to link with a grant that came by another way than a code pair.

        Args:
            submitted: the grant.
            stored: the link as it is on the disk.
        """
        self._stored = stored
        if stored is not None and stored.mark is None:
            self.state = linking.Linked()
        self.feed(submitted)

    def resume(self, request: linking.LinkRequested, kept: TokenGrant | None = None) -> None:
        """Begin to keep the stored link, or go on with what a restart cut short; ask for nothing new.

        Args:
            request: what an attempt that goes on shall be like.
            kept: the access token that a restart left behind; served at once if there is a link to keep, else taken
                away. Without one the first refresh is put off by chance: a fleet may be starting.

        Raises:
            StoreError: as ``link``.
        """
        is_going_on = self._go_on(request)
        link = self._stored
        self._is_awake = True
        if link is not None and link.mark is None and link.is_proved:
            self._begin_to_keep(link, self._chance(), kept)
        if self._in_use is None or kept is None:
            self._tokens.withdraw()
        if not is_going_on and link is not None and link.mark is not None:
            trouble = MARKS[link.mark]
            told = TROUBLES[trouble]
            refusal = Refusal(trouble, "", told.sentence, told.next_step)
            self.state = linking.Unlinked(trouble, None if trouble is Trouble.NONE else refusal)
        self._tell_view()

    def keep_linked(self, link: Link) -> None:
        """Begin to keep a stored link: refresh it now, and again in time."""
        self._stored = link
        self.state = linking.Linked()
        self._begin_to_keep(link)

    def want_token(self, min_lifetime: Seconds) -> None:
        """Refresh early if the token in hand is too short, unless it is as fresh as can be or waits are on.

        Where no refresh comes of it, whoever waits for one is told at once that it has ended.
        """
        if self._in_use is None:
            self._refresh_ended()
            return
        self._step_keeper(self._in_use, refresh.TokenWanted(min_lifetime))
        keeping = self._in_use.state
        is_starting = keeping.grant is None and keeping.attempt == 0
        if keeping.ask_at is not None and not is_starting:
            self._refresh_ended()

    def unlink(self) -> Link | None:
        """Forget the account: no token is handed out any more, and no generation of the link is left.

        Returns:
            The link that was stored: the provider may be told.

        Raises:
            StoreError: it could not be removed.
        """
        self.feed(linking.Cancelled())
        self._calls.drop(lambda _call: True)
        self._in_use = self._on_trial = None
        self._tokens.withdraw()
        self._pending.forget()
        self._store.erase()
        link, self._stored = self._stored, None
        self.feed(linking.LinkLost())
        return link

    def use_provider_client(self, provider_client: ProviderClient) -> None:
        """Speak through another conversation from now on, for settings that were read anew.

        While a link is being made it goes on with the provider that it began with: a code pair is of no other's.
        """
        self._next_provider_client = provider_client
        self._change_over()

    @property
    def problem(self) -> Refusal | None:
        """Return what is wrong with the speaker itself, told where nothing else is."""
        return self._problem

    @problem.setter
    def problem(self, problem: Refusal | None) -> None:
        self._problem = problem
        self._tell_view()

    def tell_notice(self, notice: OneTimeNotice) -> None:
        """Tell something once."""
        self._telling += 1
        self._tell_view(notice)

    def tell_again(self) -> None:
        """Return what is told now once more."""
        self._telling += 1
        self._tell_view()

    @property
    def keeping(self) -> refresh.Keeping | None:
        """Return how the keeping of the link in use, or else of the one on trial, stands."""
        keeper = self._in_use or self._on_trial
        return None if keeper is None else keeper.state

    @property
    def is_request_out(self) -> bool:
        """Return whether a request to the provider is out."""
        return self._calls.until < NEVER

    @property
    def stored_link(self) -> Link | None:
        """Return the link as stored."""
        return self._stored

    def _go_on(self, request: linking.LinkRequested) -> bool:
        """Read what is stored, and go on with what a restart cut short; say whether there was such a thing."""
        try:
            self._stored = self._store.read()
        except KeyLost as loss:
            log.error("%s", loss)
            refusal = Refusal(Trouble.REVOKED, "", str(loss), loss.hint)
            self.state = linking.Unlinked(Trouble.REVOKED, refusal)
        except StoreDamaged as damage:
            log.warning("%s", damage)
        link = self._stored
        if link is not None and link.mark is None and link.is_proved:
            self.state = linking.Linked()
        elif link is not None and link.mark is None:
            self.feed(linking.GrantFound(replace(request, again=link.replaces is not None)))
            return True
        found = self._find_pair()
        if found is not None:
            self.feed(linking.PairFound(request, found.pair, found.interval))
        return found is not None

    def run(self, is_done: Callable[[], bool], until: Monotonic = NEVER) -> bool:
        """Wait, step and carry out, until it is done or that moment has come; say whether it is done."""
        while not is_done():
            if self._clock.now() >= until:
                return False
            self._take_turn(until)
        return True

    def feed(self, event: linking.Event) -> None:
        """Step the linking machine, and carry out what it says; events that come of that are fed in turn."""
        self._events.append(event)
        if self._is_stepping:
            return
        self._is_stepping = True
        try:
            while self._events:
                self.state, commands = linking.step(self.state, self._events.popleft(), self._clock.now())
                self._promote()
                for command in commands:
                    self._carry_out(command)
        finally:
            self._is_stepping = False
        self._change_over()
        self._tell_view()

    def _change_over(self) -> None:
        """Take up the conversation that waits until no link is being made."""
        if self._next_provider_client is not None and isinstance(
            self.state, linking.Unlinked | linking.Linked
        ):
            self._provider_client, self._next_provider_client = self._next_provider_client, None

    # -- one turn

    def _take_turn(self, until: Monotonic) -> None:
        item = self._clock.take(self._inbox, min(until, self._next_moment()))
        match item:
            case None:
                pass
            case CallEnded():
                self._hear(item)
            case CallBroke():
                raise item.error
            case _Callback(run):
                run()
            case _:
                self.feed(item)
        if self._clock.now() >= self._next_moment():
            self._pass_time()

    def _next_moment(self) -> Monotonic:
        keepers = [refresh.next_moment(keeper.state) for keeper in self._keepers()]
        return min(linking.next_moment(self.state), self._calls.until, *keepers)

    def _pass_time(self) -> None:
        if self._clock.now() >= self._calls.until:
            self._time_out()
        self.feed(linking.TimePassed())
        for keeper in self._keepers():
            self._step_keeper(keeper, refresh.MomentCame())

    def _begin_to_keep(self, link: Link, draw: float = 0.0, kept: TokenGrant | None = None) -> None:
        """Put a stored link to use.

        Args:
            link: as it is on the disk.
            draw: chance in [0, 1): how long the first refresh is put off; 0: not at all.
            kept: an access token of it that still lives: it is served, and refreshed in its own time.
        """
        self._in_use = _KeptLink(refresh.begin(link, self._clock.now(), draw, kept), is_on_trial=False)
        if kept is not None:
            self._tokens.publish(kept)

    def _keepers(self) -> list[_KeptLink]:
        return [keeper for keeper in (self._in_use, self._on_trial) if keeper is not None]

    # -- requests to the provider

    def _hear(self, ended: CallEnded[_KeptLink]) -> None:
        call, answer = ended.call, ended.answer
        if self._calls.end(call) or (isinstance(answer, TokenGrant) and self._is_wanted(call)):
            self._deliver(call, answer)

    def _is_wanted(self, call: Call[_KeptLink]) -> bool:
        """Return whether a grant that came after its request was abandoned still has a place to go."""
        if call.keeper is not None:
            return call.keeper in self._keepers() and call.keeper.state.link.mark is None
        return isinstance(self.state, linking.Waiting) and self.state.pair == call.pair

    def _deliver(self, call: Call[_KeptLink], answer: Answer) -> None:
        _log_answer(call, answer)
        draw = self._chance()
        if call.keeper is not None:
            if call.keeper in self._keepers():
                self._step_keeper(call.keeper, refresh.RefreshAnswered(answer, draw))
            return
        self._count(answer)
        self.feed(linking.Answered(answer, draw))

    def _count(self, answer: Answer) -> None:
        if isinstance(answer, Unclear):
            self.answer_counts = replace(
                self.answer_counts, unclear=self.answer_counts.unclear + 1, problem=answer.what
            )
        elif isinstance(answer, Unreachable):
            self.answer_counts = replace(self.answer_counts, problem=answer.what)
        else:
            self.answer_counts = replace(self.answer_counts, usable=self.answer_counts.usable + 1)

    def _close(self) -> None:
        self._provider_client.abandon()

    def _time_out(self) -> None:
        call = self._calls.abandon()
        if call is not None:
            what = f"no answer within {CALL_BOUND:.0f} s"
            self._deliver(call, Unreachable(Trouble.PROVIDER_UNAVAILABLE, what, timed_out=True))

    def _is_for_linking(self, call: Call[_KeptLink]) -> bool:
        """Return whether a request is made for a link that is not there yet; one in use is refreshed all the same."""
        return call.keeper is None or call.keeper is self._on_trial

    # -- what the linking machine says

    def _carry_out(self, command: linking.Command) -> None:
        match command:
            case linking.ProveStore():
                self._try_store(self._store.prove_writable, linking.StoreProved())
            case linking.RequestCodePair():
                self._calls.start(Call(self._provider_client.request_code_pair))
            case linking.PollToken(pair):
                self._calls.start(Call(lambda: self._provider_client.poll(pair), pair=pair))
            case linking.DropCall():
                self._calls.drop(self._is_for_linking)
            case linking.KeepPending(pair, interval):
                self._pending.keep(PendingPair(pair, interval, self._provider_client.provider))
            case linking.ForgetPending():
                self._pending.forget()
            case linking.SaveGrant(refresh_token, flow):
                self._tell_view()  # before the deed: a slow disk is told of while it is slow
                self._overwritten = self._stored
                link = self._new_link(refresh_token, flow)
                self._try_store(lambda: self._replace(link), linking.Saved())
            case linking.ProveGrant():
                self._try_out()
            case linking.UndoSave():
                self._undo()
            case linking.TellAgain():
                self._telling += 1
            case _:
                assert_never(command)

    def _try_store(self, write: Callable[[], None], done: linking.Event) -> None:
        try:
            write()
        except StoreError as error:
            log.error("%s", error)
            self.feed(linking.StoreFailed(str(error), error.hint))
        else:
            self.feed(done)

    def _new_link(self, refresh_token: Secret, flow: Flow) -> Link:
        provider = self._provider_client.provider
        former = self._stored if self._stored is not None and self._stored.mark is None else None
        return Link(
            link_id=self._new_link_id(),
            dialect=provider.dialect,
            flow=flow,
            client_id=provider.client_id,
            scope=provider.scope,
            token_endpoint=provider.token_endpoint,
            revocation_endpoint=provider.revocation_endpoint,
            refresh_token=refresh_token,
            linked_at=self._clock.wall(),
            replaces=former,
        )

    def _replace(self, link: Link) -> None:
        self._store.replace(link)
        self._stored = link

    def _try_out(self) -> None:
        assert self._stored is not None, "a grant is proved after it is stored"  # noqa: S101  our own bug
        self._on_trial = _KeptLink(refresh.begin(self._stored, self._clock.now()), is_on_trial=True)
        self._step_keeper(self._on_trial, refresh.MomentCame())

    def _undo(self) -> None:
        former = None if self._stored is None else self._stored.replaces or self._overwritten
        self._on_trial = None
        try:
            if _is_same(self._stored, self._overwritten):  # the save failed, perhaps not before its read-back
                former = self._stored
                if _is_same(self._store.read(), former):
                    return
            if self._in_use is not None and _is_same(self._in_use.state.link, former):
                # its refresh token may have rotated where it could not be saved
                former = self._in_use.state.link
            if former is not None:
                self._replace(former)
                if self._is_awake and self._in_use is None and former.mark is None:
                    self._begin_to_keep(former)  # the restart that cut this short had let it go
            else:
                self._store.take_back()
                self._stored = None
        except StoreError as error:
            log.error("the new link could not be taken back: %s", error)

    def _promote(self) -> None:
        """Put the link on trial to use once it is told; let it go once linking has ended without it."""
        keeper = self._on_trial
        if keeper is None or isinstance(self.state, linking.Proving):
            return
        self._on_trial = None
        if isinstance(self.state, linking.Linked) and keeper.state.link.mark is None:
            keeper.is_on_trial = False
            keeper.state, _ = refresh.step(keeper.state, refresh.LinkTold(), self._clock.now())
            self._in_use = keeper
            if keeper.state.grant is not None:
                self._tokens.publish(keeper.state.grant)
            else:
                self._tokens.withdraw()  # what is laid out is of the former link

    def _find_pair(self) -> PendingPair | None:
        """Find the pair of before a restart; one of another provider or another client is discarded."""
        found = self._pending.read() if self._provider_client.has_provider else None
        if found is None:
            return None
        wanted = self._provider_client.provider
        filled = replace(
            wanted,
            device_endpoint=wanted.device_endpoint or found.provider.device_endpoint,
            token_endpoint=wanted.token_endpoint or found.provider.token_endpoint,
            revocation_endpoint=wanted.revocation_endpoint or found.provider.revocation_endpoint,
        )
        if filled != found.provider or found.pair.expires_at <= self._clock.now():
            self._pending.forget()
            return None
        self._provider_client.go_on_with(found.provider)
        return found

    # -- what the refreshing machine says

    def _step_keeper(self, keeper: _KeptLink, event: refresh.Event) -> None:
        keeper.state, commands = refresh.step(keeper.state, event, self._clock.now())
        for command in commands:
            self._carry_out_keeping(keeper, command)
        if isinstance(event, refresh.RefreshAnswered):
            self._judge(keeper)
        self._tell_view()

    def _carry_out_keeping(self, keeper: _KeptLink, command: refresh.Command) -> None:
        match command:
            case refresh.AskRefresh(link):
                self._calls.start(Call(lambda: self._provider_client.refresh(link), keeper))
            case refresh.SaveLink(link):
                self._save_link(keeper, link)
            case refresh.Serve(grant):
                if not keeper.is_on_trial:
                    self._tokens.publish(grant)
            case refresh.Withdraw():
                if not keeper.is_on_trial:
                    self._tokens.withdraw()
            case _:
                assert_never(command)

    def _save_link(self, keeper: _KeptLink, link: Link) -> None:
        if link.mark is not None and self._gives_way(keeper):
            # undone at once: no kill may find the former one marked over
            self._step_keeper(keeper, refresh.LinkSaved())
            return
        if self._stored is not None and self._stored.replaces is not None:
            self._tokens.withdraw()  # a kill after the save must not leave a former owner's token to be found
        dated = replace(link, marked_at=self._clock.wall()) if link.mark else link
        try:
            self._store.save(dated)
        except StoreError as error:
            log.error("%s", error)
            self._step_keeper(keeper, refresh.SaveFailed())
        else:
            self._stored = dated
            self._step_keeper(keeper, refresh.LinkSaved())

    def _gives_way(self, keeper: _KeptLink) -> bool:
        """Return whether a link that is refused now gives way to the former one, which is in use all the while."""
        return keeper.is_on_trial and isinstance(self.state, linking.Proving) and self.state.request.gives_way

    def _judge(self, keeper: _KeptLink) -> None:
        """Tell the linking machine how the proof stands, or that the link in use is lost."""
        standing = refresh.proof_of(keeper.state)
        if keeper.is_on_trial:
            self.feed(linking.ProofHeard(standing, keeper.state.trouble, keeper.state.refusal))
        elif standing is ProofStanding.REFUSED:
            self._give_up(keeper.state.refusal)
        if not keeper.is_on_trial:
            self._refresh_ended()

    def _give_up(self, refusal: Refusal | None) -> None:
        """Let the link in use go. One that was told before it was proved gives way to the link it replaced."""
        self._in_use = None
        former = None if self._stored is None else self._stored.replaces
        if former is None:
            self.feed(linking.LinkLost(refusal))
            return
        self._undo()
        self.keep_linked(former)
        trouble = Trouble.NONE if refusal is None else refusal.trouble
        self.state = linking.Linked(trouble, refusal, later(self._clock.now(), linking.TROUBLE_TOLD_FOR))

    # -- what people are told

    def _tell_view(self, moment: OneTimeNotice | None = None) -> None:
        view = self.view()
        if view != self._told or moment is not None:
            self._told = view
            self._tell(replace(view, moment=moment))

    def view(self) -> View:
        """Put together what people are told now: of linking first, then of keeping, then of the speaker itself."""
        trouble, refusal = self.state.trouble, getattr(self.state, "refusal", None)
        if trouble is Trouble.NONE and self._in_use is not None:
            trouble, refusal = self._in_use.state.trouble, self._in_use.state.refusal
        if trouble is Trouble.NONE and self._problem is not None:
            trouble, refusal = self._problem.trouble, self._problem
        word = linking.word_of(self.state)
        hint = STATES[word].next_step if trouble is Trouble.NONE else TROUBLES[trouble].next_step
        return View(
            state=word,
            trouble=trouble,
            hint=hint if refusal is None else refusal.hint,
            code_pair=self.state.pair if isinstance(self.state, linking.Waiting) else None,
            refusal=refusal,
            account=None if self._stored is None else self._stored.account,
            telling=self._telling,
        )


def _is_same(one: Link | None, other: Link | None) -> bool:
    """Return whether both are generations of one link, or none is there."""
    return (one and one.link_id) == (other and other.link_id)


def _log_answer(call: Call[_KeptLink], answer: Answer) -> None:
    """Say in a line what a request came to: no code, no token, and nothing in the provider's own words."""
    asked = "refresh" if call.keeper is not None else "request for a code" if call.pair is None else "poll"
    match answer:
        case CodePair():
            log.info("%s: a code for %.0f s, polled every %.0f s", asked, answer.expires_in, answer.interval)
        case TokenGrant():
            log.info("%s: an access token for %.0f s", asked, answer.expires_in)
        case Pending():
            log.info("%s: not approved yet", asked)
        case SlowDown():
            log.info("%s: slower polls are asked for", asked)
        case Refusal():
            log.warning("%s: refused, %s", asked, answer.error or answer.trouble)
        case Unclear() | Unreachable():
            log.warning("%s: no usable answer, %s", asked, answer.what)
        case _:
            assert_never(answer)
