"""The loop: waits, steps the speaker's machine, carries its commands out. It decides nothing.

One thread and an inbox. A request to the provider runs on a worker thread, one at a time, and comes back as
an event; so a press or a cancel is heard while the network hangs. A request that takes longer than 20 s is
abandoned; its late answer is an event as well.
"""

import logging
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Final, assert_never

from device_auth.core import linking, refresh, speaker
from device_auth.core.errors import KeyLost, NotSealed, StoreDamaged, StoreError
from device_auth.core.models import (
    NEVER,
    Answer,
    Link,
    Monotonic,
    PendingPair,
    Provider,
    Refusal,
    Seconds,
    Secret,
    TimePassed,
    TokenGrant,
    View,
)
from device_auth.core.policy import PROFILE_BOUND
from device_auth.core.ports import GrantStore, PendingStore, TokenFiles, WaitingClock
from device_auth.core.speaker import Question, RequestProfile, RequestRefresh, SpeakerState
from device_auth.core.states import WHILE_HELD, OneTimeNotice, Trouble
from device_auth.core.values import dataclass, replace
from device_auth.service.calls import Call, CallBroke, CallEnded, Calls, log_answer
from device_auth.service.provider_client import ProviderClient

log: Final = logging.getLogger(__name__)

_NAMES: Final = {
    linking.RequestCodePair: "request for a code",
    linking.PollToken: "poll",
    RequestRefresh: "refresh",
    RequestProfile: "request for the account",
}


@dataclass(frozen=True, slots=True)
class _Callback:
    """A function to be called on the loop's thread."""

    run: Callable[[], None]


class Loop:
    """Runs the speaker's machine against the world.

    Args:
        provider_client: speaks with the provider.
        store: keeps the link; its lock is held.
        pending: keeps the current code pair over a restart.
        tokens: hands the access token to programs.
        clock: returns both times and waits.
        tell: shows a view to people; must not block.
        chance: returns draws in [0, 1).
        new_link_id: names a new link.
        refresh_ended: hears that a refresh of the link in use has ended, well or not, and when the next one is due.
        claim: marks a new link as this unit's.
        doubt: why what is stored may not outlast a power cut; empty if it does.

    Attributes:
        hear: hears each event of the machine.
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
        refresh_ended: Callable[[Monotonic], None] = lambda _: None,
        claim: Callable[[Link], Link] = lambda link: link,
        doubt: str = "",
    ) -> None:
        self._provider_client = provider_client
        self._next_provider_client: ProviderClient | None = None
        self._store = store
        self._pending = pending
        self._tokens = tokens
        self._clock = clock
        self._tell = tell
        self._chance = chance
        self._new_link_id = new_link_id
        self._refresh_ended = refresh_ended
        self._claim = claim
        self.hear: Callable[[speaker.Event], None] = lambda _: None
        self._inbox: SimpleQueue[speaker.Event | CallEnded[Question] | CallBroke | _Callback] = SimpleQueue()
        self._calls: Calls[Question] = Calls(self._inbox.put, self._close, clock.now)
        self._told: View | None = None
        self.speaker = SpeakerState(doubt=doubt)

    # -- from any thread or signal handler

    def post(self, event: speaker.Event) -> None:
        """Leave an event in the inbox."""
        self._inbox.put(event)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Have a function called on the loop's thread."""
        self._inbox.put(_Callback(callback))

    # -- starting

    def link(self, request: linking.LinkRequested) -> None:
        """Begin to link: with the pair or the grant of before a restart if there is one, else with a new pair.

        Raises:
            StoreError: if the store cannot be read. A damaged link is set aside, and the speaker is linked again.
        """
        self._step(self._read_store())
        self.feed(speaker.Started(request, *self._find_pair()))

    def link_with_grant(self, submitted: linking.GrantSubmitted, stored: Link | None) -> None:
        """Begin to link with a grant that came by another way than a code pair; ``stored`` is the link on the disk."""
        self._step(speaker.LinkRead(stored))
        self.feed(submitted)

    def resume(self, request: linking.LinkRequested, token: TokenGrant | None = None) -> None:
        """Begin to keep the stored link, or go on with what a restart cut short; request nothing new.

        Args:
            request: what an attempt that goes on is like.
            token: the access token that a restart left behind; served at once if there is a link to keep, else
                withdrawn. Without one the first refresh is put off by chance: a fleet may be starting.

        Raises:
            StoreError: if the store cannot be read.
        """
        self._step(self._read_store())
        found = self._find_pair()
        self.feed(speaker.Started(request, *found, is_service=True, token=token, draw=self._chance()))

    def keep_linked(self, link: Link) -> None:
        """Begin to keep a stored link: refresh it now, and again in time."""
        self._step(speaker.KeepLinked(link))

    # -- on the loop's thread

    def feed(self, event: speaker.Event) -> None:
        """Step the machine, carry out its commands, and tell people what changed."""
        self._step(event)
        self._change_provider_client()
        self._tell_view()

    def run(self, is_done: Callable[[], bool], until: Monotonic = NEVER) -> bool:
        """Wait, step and carry out, until it is done or that moment has come; return whether it is done."""
        while not is_done():
            if self._clock.now() >= until:
                return False
            self._take_turn(until)
        return True

    def want_token(self, min_lifetime: Seconds, rejected: Secret | None = None) -> None:
        """Refresh early if the current token is too short or was rejected, unless it is as fresh as can be or waits are on.

        Where no refresh comes of it, ``refresh_ended`` is called at once.
        """
        self.feed(refresh.TokenWanted(min_lifetime, rejected))

    def unlink(self) -> Link | None:
        """Forget the account: no token is handed out any more, and no generation of the link is left.

        Returns:
            The link that was stored: the provider may be told.

        Raises:
            StoreError: if it could not be removed; then it stays in use.
        """
        link = self.stored_link
        self._step(speaker.UnlinkRequested())
        try:
            self._store.erase()
        except StoreError:
            self.feed(speaker.EraseFailed())
            raise
        self.feed(speaker.StoreErased())
        return link

    def adopt(self, request: linking.LinkRequested) -> bool:
        """Begin to keep another unit's link as this unit's own; return whether there was such a link.

        Raises:
            StoreError: if it cannot be stored.
        """
        if not self._store.adopt():
            return False
        self._step(linking.Cancelled())
        self.resume(request)
        return True

    def use_provider_client(self, provider_client: ProviderClient) -> None:
        """Use another client from now on, because the settings were reloaded.

        While a link is being made it goes on with the provider that it began with: a code pair is of no other's.
        """
        self._next_provider_client = provider_client
        self._change_provider_client()

    def _change_provider_client(self) -> None:
        is_at_rest = isinstance(self.state, linking.Unlinked | linking.Linked)
        if self._next_provider_client is not None and is_at_rest:
            self._provider_client, self._next_provider_client = self._next_provider_client, None

    def tell_notice(self, notice: OneTimeNotice) -> None:
        """Tell a notice once, and beside it the present view again, but not while the button is held."""
        if notice not in WHILE_HELD:
            self._step(speaker.RepeatRequested())
        self._tell_view(notice)

    def tell_again(self) -> None:
        """Tell the present view once more."""
        self.feed(speaker.RepeatRequested())

    # -- what is known

    @property
    def state(self) -> linking.State:
        """Return where linking stands."""
        return self.speaker.stage

    @property
    def problem(self) -> Refusal | None:
        """Return what is wrong with the speaker itself, told where nothing else is."""
        return self.speaker.problem

    @problem.setter
    def problem(self, problem: Refusal | None) -> None:
        self.feed(speaker.ProblemChanged(problem))

    @property
    def keeping(self) -> refresh.Keeping | None:
        """Return how the keeping of the link in use, or else of the one on trial, stands."""
        kept = self.speaker.in_use or self.speaker.on_trial
        return None if kept is None else kept.keeping

    @property
    def stored_link(self) -> Link | None:
        """Return the link as stored."""
        return self.speaker.stored

    @property
    def answer_counts(self) -> speaker.AnswerCounts:
        """Return what kinds of answers came while linking."""
        return self.speaker.answers

    @property
    def is_request_out(self) -> bool:
        """Return whether a request to the provider is out."""
        return self._calls.until < NEVER

    def view(self) -> View:
        """Return what people are told now."""
        return speaker.view_of(self.speaker)

    # -- one turn

    def _take_turn(self, until: Monotonic) -> None:
        item = self._clock.take(self._inbox, min(until, self._next_moment()))
        match item:
            case None:
                pass
            case CallEnded(call, answer):
                is_late = not self._calls.end(call)
                if not is_late or isinstance(answer, TokenGrant):
                    log_answer(_NAMES[type(call.question)], answer)
                self.feed(speaker.CallAnswered(call.question, answer, self._chance(), is_late))
            case CallBroke():
                raise item.error
            case _Callback(run):
                run()
            case _:
                self.feed(item)
        if self._clock.now() >= self._next_moment():
            self._pass_time()

    def _next_moment(self) -> Monotonic:
        return min(self._calls.until, speaker.next_moment(self.speaker))

    def _pass_time(self) -> None:
        # an answer that is there already came in time, however long the disk has kept this thread
        is_late = self._clock.now() >= self._calls.until and self._inbox.empty()
        if is_late and (call := self._calls.abandon()) is not None:
            name = _NAMES[type(call.question)]
            log.warning("%s: no usable answer, no answer within %.0f s", name, call.bound)
            self.feed(speaker.CallTimedOut(call.question, self._chance()))
        self.feed(TimePassed())

    def _step(self, event: speaker.Event) -> None:
        """Step the machine, and carry out its commands; each result from the store is stepped before the next one."""
        self.hear(event)
        self.speaker, commands = speaker.step(self.speaker, event, self._clock.now())
        for command in commands:
            result = self._carry_out(command)
            if result is not None:
                self._step(result)

    # -- carrying out

    def _carry_out(self, command: speaker.Command) -> speaker.Event | None:
        match command:
            case linking.RequestCodePair() | linking.PollToken() | RequestRefresh():
                self._calls.start(Call(command, self._sender(command)))
            case RequestProfile():
                self._calls.start(Call(command, self._sender(command), PROFILE_BOUND))
            case speaker.DropCalls(kept):
                self._calls.drop(lambda it: not isinstance(it, RequestRefresh) or it.number != kept)
            case speaker.UseProvider(provider):
                self._provider_client.go_on_with(provider)
            case linking.KeepPending(pair, interval):
                self._pending.keep(PendingPair(pair, interval, self._provider_client.provider))
            case linking.ForgetPending():
                self._pending.forget()
            case refresh.Serve(grant):
                self._tokens.publish(grant)
            case refresh.Withdraw():
                self._tokens.withdraw()
            case speaker.ReportRefreshEnded(next_at):
                self._refresh_ended(next_at)
            case _:
                return self._use_store(command)
        return None

    def _sender(self, question: Question) -> Callable[[], Answer]:
        match question:
            case linking.RequestCodePair():
                return self._provider_client.request_code_pair
            case linking.PollToken(pair):
                return partial(self._provider_client.poll, pair)
            case RequestRefresh(_, link):
                return partial(self._provider_client.refresh, link)
            case RequestProfile(_, link, access_token):
                return partial(self._provider_client.request_profile, link, access_token)
            case _:
                assert_never(question)

    def _use_store(
        self,
        command: linking.ProveStore
        | speaker.StoreGrant
        | speaker.StoreLink
        | speaker.LookAtStore
        | speaker.PutBack,
    ) -> speaker.Event:
        """Carry out a command on the store, and return its result."""
        if isinstance(command, linking.ProveStore | speaker.StoreGrant):
            self._tell_view()  # before it is done: a slow disk is told of while it is slow
        match command:
            case linking.ProveStore():
                return self._try(self._store.prove_writable, linking.StoreProved())
            case speaker.StoreGrant():
                grant = self._make_link(command)
                return self._try(lambda: self._store.replace(grant), speaker.GrantStored(grant))
            case speaker.StoreLink(number, link):
                dated = self._date(link)
                failed = speaker.LinkNotStored(number, dated)
                return self._try(lambda: self._store.save(dated), speaker.LinkStored(number, dated), failed)
            case speaker.LookAtStore():
                return self._look_at_store()
            case speaker.PutBack(link):
                return self._put_back(None if link is None else self._date(link))
            case _:
                assert_never(command)

    def _try(
        self, write: Callable[[], None], done: speaker.Event, failed: speaker.Event | None = None
    ) -> speaker.Event:
        try:
            write()
        except StoreError as error:
            log.error("%s", error)
            return failed or linking.StoreFailed(str(error), error.hint)
        return done

    def _put_back(self, link: Link | None) -> speaker.Event:
        write = self._store.take_back if link is None else lambda: self._store.replace(link)
        return self._try(write, speaker.PutBackDone(link), speaker.PutBackFailed())

    def _make_link(self, grant: speaker.StoreGrant) -> Link:
        provider = self._provider_client.provider
        link = Link(
            link_id=self._new_link_id(),
            dialect=provider.dialect,
            flow=grant.flow,
            client_id=provider.client_id,
            scope=provider.scope,
            token_endpoint=provider.token_endpoint,
            revocation_endpoint=provider.revocation_endpoint,
            refresh_token=grant.refresh_token,
            linked_at=self._clock.wall(),
            replaces=grant.former,
            dsn=provider.dsn,
            takes_secret=self._provider_client.takes_secret(grant.flow),
            secret_by_basic=provider.secret_by_basic,
        )
        return self._claim(link)

    def _date(self, link: Link) -> Link:
        """Return a marked link with the date of its mark."""
        return link if link.mark is None else replace(link, marked_at=link.marked_at or self._clock.wall())

    def _look_at_store(self) -> speaker.Event:
        try:
            return speaker.StoreSeen(self._store.read())
        except StoreDamaged as damage:
            log.warning("%s", damage)
            return speaker.StoreSeen(None)
        except StoreError as error:
            log.error("%s", error)
            return speaker.StoreNotSeen()

    def _read_store(self) -> speaker.Event:
        try:
            return speaker.LinkRead(self._store.read())
        except (KeyLost, NotSealed) as error:
            log.error("%s", error)
            trouble = Trouble.REVOKED if isinstance(error, KeyLost) else Trouble.MISCONFIGURED
            return speaker.LinkRead(None, Refusal(trouble, "", str(error), error.hint))
        except StoreDamaged as damage:
            log.warning("%s", damage)
            return speaker.LinkRead(None)

    def _find_pair(self) -> tuple[Provider | None, PendingPair | None]:
        client = self._provider_client
        return (client.provider, self._pending.read()) if client.has_provider else (None, None)

    def _close(self) -> None:
        self._provider_client.abandon()

    def _tell_view(self, notice: OneTimeNotice | None = None) -> None:
        view = self.view()
        if view != self._told or notice is not None:
            self._told = view
            self._tell(replace(view, notice=notice))
