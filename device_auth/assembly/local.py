"""The speaker whose link this process holds: the store's lock, the loop and the provider."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from device_auth import __version__
from device_auth.assembly.speaker import (
    ERRORS,
    Audience,
    Ending,
    LinkOptions,
    LinkResult,
    UnlinkResult,
    error_of,
    error_of_mark,
    no_fresh_token,
    nothing_to_adopt,
    nothing_to_seal,
)
from device_auth.core.errors import NotSealed, StoreBusy, StoreDamaged, StoreError
from device_auth.core.models import (
    MARKS,
    NEVER,
    DialectName,
    Link,
    Monotonic,
    PendingPair,
    Seconds,
    UnixTime,
    View,
    later,
)
from device_auth.core.public import FRESH, AccessToken, SpeakerHealth, SpeakerStatus, hand_over_of, health_of
from device_auth.core.states import StateWord, Trouble, phrase_of
from device_auth.core.values import dataclass, replace
from device_auth.prompts.stderr import say, say_problem
from device_auth.world.envelope import Plain, read_envelope, write_envelope

if TYPE_CHECKING:
    from device_auth.assembly.doors import Doors
    from device_auth.assembly.opened_parts import SimulatedAs
    from device_auth.core import linking
    from device_auth.service.loop import Loop
    from device_auth.service.provider_client import ProviderClient
    from device_auth.simulator.amazon import Amazon
    from device_auth.world.owners import Question
    from device_auth.world.signals import EndingSignals
    from hardware.button import Gesture

REFRESH_TIME: Final = Seconds(45)
"""How long a refresh may take in all: one request, and another one if the first was doubtful."""

LOCK_TIME: Final = REFRESH_TIME
"""How long a command waits for another one's lock: that one is likely refreshing."""

LOCK_PAUSE: Final = Seconds(0.1)

QUIET_TIME: Final = Seconds(2)
"""After so long a wait for a lock people are told of it."""

LAST_WORDS: Final = Seconds(10)
"""How long a prompt may still tell that the speaker is linked, once that was to be seen."""

LAST_FRAME: Final = Seconds(0.3)
"""A little longer than a frame of the drawn speaker."""

REVOKING_TIME: Final = Seconds(10)
"""How long the provider may take to confirm a revocation; the speaker has forgotten the link by then."""


@dataclass(frozen=True, slots=True)
class GrantOpening:
    """All that a grant by another way than a code pair needs, opened before anyone is asked for anything.

    Attributes:
        former: the link in force, if there is one.
        amazon: the simulated one, if this is a simulation.
    """

    former: Link | None
    amazon: "Amazon | None"
    provider_client: "ProviderClient"


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state of a speaker as the disk has it.

    Attributes:
        link: the stored link; None if there is none, or none that can be used.
        pending: the current code pair.
        hint: the next step of the state and the trouble.
    """

    link: Link | None
    pending: PendingPair | None
    word: StateWord
    trouble: Trouble
    hint: str

    @property
    def since(self) -> UnixTime | None:
        """Return since when the link, or its mark, is there."""
        if self.link is None:
            return None
        return self.link.linked_at if self.link.marked_at is None else self.link.marked_at


class LocalSpeaker:
    """Holds the link itself.

    Args:
        doors: of this process.
    """

    def __init__(self, doors: "Doors") -> None:
        self._doors = doors

    def status(self) -> SpeakerStatus:
        """Return the state as the disk has it, without a network.

        Raises:
            StoreError: if the store cannot be read.
        """
        doors, seen = self._doors, self._look()
        link = seen.link
        return SpeakerStatus(
            state=seen.word,
            trouble=seen.trouble,
            since=seen.since,
            hint=doors.doubt if seen.word is StateWord.LINKED else seen.hint,
            expires_at=self._expires_at(seen.word, seen.pending),
            account=None if link is None else link.account,
            account_id=None if link is None else link.account_id,
            linked_at=None if link is None else link.linked_at,
            dialect=None if link is None else link.dialect,
            version=__version__,
            name=doors.name,
            handed_over=hand_over_of(link),
            lasts=not doors.doubt,
        )

    def health(self) -> SpeakerHealth:
        """Return the health as disk and runtime folder have it, without a network.

        Raises:
            StoreError: if the store cannot be read.
        """
        seen = self._look()
        has_fresh_token = self._kept_token(FRESH) is not None
        return health_of(seen.word, seen.trouble, seen.link, seen.since, has_fresh_token=has_fresh_token)

    def _look(self) -> _Seen:
        """Look at the disk; see ``status``."""
        pending = self._doors.pending.read()
        try:
            link = self._doors.store.read()
        except NotSealed as plain:
            return _Seen(None, pending, StateWord.UNLINKED, Trouble.MISCONFIGURED, plain.hint)
        except StoreDamaged:
            link, word, trouble = None, StateWord.UNLINKED, Trouble.STORAGE
        else:
            word, trouble = _words(link, pending)
        return _Seen(link, pending, word, trouble, phrase_of(word, trouble).next_step)

    def _expires_at(self, word: StateWord, pending: PendingPair | None) -> UnixTime | None:
        """Return the end of the current code, or else of the access token."""
        clock = self._doors.clock
        if pending is not None:
            return UnixTime(clock.wall() + pending.pair.expires_at - clock.now())
        token = self._doors.tokens.read() if word is StateWord.LINKED else None
        return None if token is None else token.expires_at

    # -- the access token

    def token(self, min_lifetime: int) -> AccessToken:
        """Return the token of the runtime folder if it lasts, else refresh.

        Raises:
            DeviceAuthError: if there is no link to use, or no fresh token in time.
        """
        doors = self._doors
        link = usable(doors.store.read())
        kept = self._kept_token(min_lifetime)
        if kept is not None:
            return kept
        self._report_differences(link)
        until = later(doors.clock.now(), REFRESH_TIME)
        with doors.simulated_amazon(link), locked(doors):
            # Another process may have refreshed, or unlinked, while this one waited for the lock.
            return self._kept_token(min_lifetime) or self._refresh(until)

    def _kept_token(self, min_lifetime: int) -> AccessToken | None:
        kept, now = self._doors.tokens.read(), self._doors.clock.wall()
        if kept is None or kept.expires_at - now < min_lifetime:
            return None
        return AccessToken(kept.access_token, kept.expires_at, max(0, int(kept.expires_at - now)))

    def _refresh(self, until: Monotonic) -> AccessToken:
        from device_auth.core.policy import CALL_BOUND

        doors = self._doors
        left = Seconds(until - doors.clock.now())
        if left < CALL_BOUND:
            # The process that had the lock has just tried in vain; and a request that is cut off may have replaced the
            # refresh token.
            raise no_fresh_token(Trouble.PROVIDER_UNAVAILABLE)
        doors.keys.sealing()  # a refresh may bring a new refresh token, which must be stored
        with suppress(StoreError):  # a full disk keeps no token back
            doors.store.fill_in_marks()
        loop = refresh(doors, usable(doors.store.read()), left)
        keeping = loop.keeping
        if keeping is None or keeping.grant is None:
            view = loop.view()
            raise no_fresh_token(view.trouble) if view.refusal is None else error_of(view.refusal)
        lasts = Seconds(keeping.grant.expires_at - doors.clock.now())
        return AccessToken(
            keeping.grant.access_token, UnixTime(doors.clock.wall() + lasts), max(0, int(lasts))
        )

    def _report_differences(self, link: Link) -> None:
        """Report which given settings a stored link does not use: its own hold."""
        for sentence in self._doors.differences_from(link):
            say(f"device-auth: {sentence}")

    # -- a new link

    def link(self, options: LinkOptions, audience: Audience) -> LinkResult:
        """Ask for a code pair, tell its user code, and poll until the owner has answered.

        Raises:
            DeviceAuthError: if a setting, the key or the store cannot be used.
        """
        stored = self._read_stored()
        former = in_force(stored)
        if former is not None and not options.again:
            self._report_differences(former)
            return LinkResult(Ending.ALREADY_LINKED, doubt=self._doors.doubt)
        from device_auth.assembly.announcing import announcing
        from device_auth.assembly.opened_parts import PartsListener
        from device_auth.assembly.parts import open_parts
        from device_auth.core import linking

        doors = self._doors
        with ExitStack() as opened:
            opened.enter_context(doors.simulated_amazon(stored))
            provider_client = doors.open_provider_client()
            doors.keys.sealing()  # a key that cannot be had is reported before a code is told
            has_waited = opened.enter_context(locked(doors))
            if has_waited and not options.again and self._is_linked():
                return LinkResult(Ending.ALREADY_LINKED, doubt=doors.doubt)
            loop = doors.open_loop(provider_client, lambda view: announcer.tell(view))  # noqa: PLW0108  opened below
            renewals = self._renewals(is_someone_there=options.is_someone_there)
            request = linking.LinkRequested(provider_client.rules, renewals, again=options.again)

            def on_gesture(gesture: "Gesture") -> None:
                from hardware.button import Gesture  # loaded already where there is a button

                if gesture is Gesture.TAP:
                    loop.post(replace(request, again=False))  # the link that was asked for may be there

            listener = PartsListener(on_gesture, lambda _part, why: say_problem(why.message, why.hint))
            simulated_as = self._simulated_as(audience)
            parts = opened.enter_context(
                open_parts(doors.settings, doors.clock, listener, simulated_as=simulated_as)
            )
            if doors.is_simulated and audience.is_read:
                say(doors.greeting)
            announcer = opened.enter_context(
                announcing(doors, audience, parts=parts.prompts, sidebar=parts.sidebar)
            )
            with _cancelled_by_signals(loop) as came:
                loop.link(request)
                until = NEVER if options.timeout is None else later(doors.clock.now(), options.timeout)
                without_link = _run_to_the_end(loop, until, came)
                if without_link is Ending.CANCELLED and parts.is_momentary:
                    self._let_finish(
                        loop,
                        lambda: came.is_cancelled or came.has_hung_up,
                        lambda: announcer.is_behind() or parts.is_speaking(),
                    )
        return _result_of(loop, former, without_link)

    def _let_finish(self, loop: "Loop", is_over: Callable[[], bool], is_telling: Callable[[], bool]) -> None:
        """Show a new link for a while, and let the last words end and be seen, before the command does."""
        from device_auth.prompts.view_changes import JUST_LINKED_FOR

        clock = self._doors.clock
        loop.run(is_over, later(clock.now(), JUST_LINKED_FOR))
        give_up_at = later(clock.now(), LAST_WORDS)
        is_unfinished = is_telling()
        while is_unfinished and clock.now() < give_up_at and not is_over():
            is_unfinished = is_telling()
            loop.run(is_over, later(clock.now(), LAST_FRAME))  # once more when the last word is spoken

    def _simulated_as(self, audience: Audience) -> "SimulatedAs | None":
        """Return how the parts of a simulated speaker are shown; None of a real one."""
        from device_auth.assembly.opened_parts import SimulatedAs

        if not self._doors.is_simulated:
            return None
        if not audience.is_read:
            return SimulatedAs.NOTHING
        return SimulatedAs.DRAWING if audience.is_on_a_terminal else SimulatedAs.LINES

    def _renewals(self, *, is_someone_there: bool) -> int:
        """Return how often an expired code is renewed: as asked for, else only where someone is plainly there."""
        settings = self._doors.settings
        return settings.renewals if is_someone_there or settings.is_given("renewals") else 0

    def _read_stored(self) -> Link | None:
        """Return the stored link; a damaged link is reported, and the speaker is linked again."""
        try:
            return self._doors.store.read()
        except StoreDamaged as damage:
            say(f"device-auth: {damage}")
            return None

    def _is_linked(self) -> bool:
        """Return whether the process that had the lock before has linked the speaker."""
        with suppress(StoreDamaged):
            return in_force(self._doors.store.read()) is not None
        return False

    @contextmanager
    def ready_for_grant(self, *, again: bool) -> Iterator[GrantOpening | None]:
        """Open all that a grant by another way than a code pair needs; the store's lock is held meanwhile.

        Args:
            again: although there is a link.

        Yields:
            What is open; None if there is a link already and no other is asked for.

        Raises:
            DeviceAuthError: if a service holds the link, or a setting, the key or the store cannot be used.
        """
        from device_auth.assembly.service import refuse_beside_service

        doors = self._doors
        refuse_beside_service(doors)
        stored = self._read_stored()
        former = in_force(stored)
        if former is not None and not again:
            self._report_differences(former)
            yield None
            return
        with doors.simulated_amazon(stored) as amazon:
            provider_client = doors.open_provider_client()
            provider = provider_client.provider
            doors.prove_route(provider.token_endpoint or provider.issuer)
            doors.keys.sealing()
            with locked(doors) as has_waited:
                if has_waited and not again and self._is_linked():
                    yield None
                    return
                doors.store.prove_writable()
                yield GrantOpening(former, amazon, provider_client)

    def submit(
        self, opening: GrantOpening, grant: "linking.GrantSubmitted", audience: Audience
    ) -> LinkResult:
        """Save a grant that came by another way than a code pair, and prove it.

        Args:
            opening: is open.
            grant: from the provider of the opening.
            audience: who follows.

        Raises:
            DeviceAuthError: if the store cannot be written.
        """
        from device_auth.assembly.announcing import announcing

        stored = None
        with suppress(StoreDamaged):  # it was reported when it was read before the lock was taken
            stored = self._doors.store.read()
        is_over = False

        def is_the_end(view: View) -> bool:
            # the command's own error reports the end; that a former link stays is not what was asked for
            is_former = view.state is StateWord.LINKED and not _is_new_link(loop, stored)
            return is_former or view.trouble in ERRORS.keys() - {Trouble.NONE, Trouble.STORAGE}

        def tell(view: View) -> None:
            nonlocal is_over
            is_over = is_over or is_the_end(view)
            if not is_over:
                announcer.tell(view)
            if audience.follow is not None:
                audience.follow(view)

        with announcing(self._doors, replace(audience, has_qr=False, follow=None)) as announcer:
            loop = self._doors.open_loop(opening.provider_client, tell)
            with _cancelled_by_signals(loop) as came:
                loop.link_with_grant(grant, stored)
                without_link = _run_to_the_end(loop, NEVER, came)
        return _result_of(loop, stored, without_link)

    def adopt(self) -> LinkResult:
        """Use the link of another unit as this speaker's own.

        Raises:
            DeviceAuthError: if there is none, or it cannot be stored.
        """
        with locked(self._doors):
            if self._doors.store.adopt():
                return LinkResult(Ending.LINKED, doubt=self._doors.doubt)
            if in_force(self._doors.store.read()) is None:
                raise nothing_to_adopt()
            return LinkResult(Ending.ALREADY_LINKED, doubt=self._doors.doubt)

    def seal(self) -> None:
        """Seal a plain link under the key that is set up, be it set aside or not.

        Raises:
            DeviceAuthError: if there is no link or no key, or the link cannot be stored.
        """
        with locked(self._doors):
            if not self._doors.store.seal():
                raise nothing_to_seal()

    # -- no link any more

    def unlink(self, *, is_wipe: bool) -> UnlinkResult:
        """Forget the account, then tell the provider where it has a revocation endpoint.

        Raises:
            StoreError: if a file cannot be removed.
        """
        from device_auth.world.owners import as_owner, belongs_to_another

        state = self._doors.places.state_dir
        if belongs_to_another(state):
            self._doors.keys.load()  # and the settings, which only root may be able to read
            import_module("device_auth.world.wiping")  # so may our own folder
        dialect, is_revoked, proof = as_owner(
            state, lambda ask: self._unlink(ask, is_wipe=is_wipe), self._revoke_envelope
        )
        return UnlinkResult(None if dialect is None else DialectName(dialect), is_revoked, proof)

    def _unlink(
        self, ask: "Question", *, is_wipe: bool
    ) -> tuple[DialectName | None, bool, dict[str, object]]:
        """Forget the account as the user whose link it is; ``ask`` has the provider revoke the link."""
        with locked(self._doors):
            link = self._read_if_readable()
            proof = self._wipe() if is_wipe else self._forget()
        if link is None:
            return None, False, proof
        is_revoked = bool(link.revocation_endpoint) and ask(write_envelope(link, Plain()).decode())
        return link.dialect, is_revoked, proof

    def _revoke_envelope(self, envelope: str) -> bool:
        from device_auth.world.keys import ONLY_PLAIN

        return self._revoke(read_envelope(envelope.encode(), ONLY_PLAIN.named)[0])

    def _read_if_readable(self) -> Link | None:
        """Return the link if it can be read: an unreadable link is forgotten too."""
        try:
            return self._doors.store.read()
        except StoreError as error:
            say(f"device-auth: {error}")
            return None

    def _forget(self) -> dict[str, object]:
        self._doors.tokens.withdraw()
        self._doors.pending.forget()
        self._doors.store.erase()
        return {}

    def _wipe(self) -> dict[str, object]:
        """Remove every file of ours, and return the proof; raise an error if a token is still found."""
        from device_auth.world.wiping import wipe

        if self._doors.is_simulated:
            self._doors.amazon_memory.unlink(missing_ok=True)
        wiped = wipe(self._doors.store, self._doors.places.runtime_dir)
        return {
            "files_removed": len(wiped.removed),
            "secrets_looked_for": wiped.secrets,
            "bytes_searched": wiped.scanned,
            "secrets_found": 0,
            "files_not_read": len(wiped.unread),
            "files_kept": [str(path) for path in wiped.kept],
            "media": {"erased": False, "held_plain_token": wiped.was_plain},
        }

    def _revoke(self, link: Link) -> bool:
        """Ask the provider to revoke, where it can (RFC 7009); return whether it did in time."""
        from device_auth.world.bounded import bounded

        provider_client = self._doors.open_refreshing()
        try:
            return bounded(lambda: provider_client.revoke(link), REVOKING_TIME)
        except TimeoutError:
            return False


# ---------------------------------------------------------------------------------------------------------
# The stored link


def in_force(link: Link | None) -> Link | None:
    """Return the stored link if it is one that needs no other."""
    return link if link is not None and link.mark is None and link.is_proved else None


def usable(link: Link | None) -> Link:
    """Return the link if it may be used.

    Raises:
        DeviceAuthError: if there is none, or it is kept but not used.
    """
    if link is None:
        raise error_of_mark(None, None)
    if link.mark is not None:
        raise error_of_mark(link.mark, link.handed_over_to)
    return link


def _words(link: Link | None, pending: PendingPair | None) -> tuple[StateWord, Trouble]:
    if pending is not None:
        return StateWord.WAITING, Trouble.NONE
    if link is None:
        return StateWord.UNLINKED, Trouble.NONE
    if link.mark is not None:
        return StateWord.UNLINKED, MARKS[link.mark]
    return (StateWord.LINKED if link.is_proved else StateWord.PROVING), Trouble.NONE


@contextmanager
def locked(doors: "Doors", within: Seconds = LOCK_TIME) -> Iterator[bool]:
    """Take the store's lock; the process that has it now is likely refreshing, and soon done.

    Args:
        doors: whose store.
        within: how long to wait for it.

    Yields:
        Whether another process had it before.

    Raises:
        StoreBusy: if the lock stays taken.
    """
    began_at = doors.clock.now()
    give_up_at, tell_at = later(began_at, within), later(began_at, QUIET_TIME)
    has_waited = False
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(doors.store)
                break
            except StoreBusy as busy:
                has_waited = True
                now = doors.clock.now()
                if now >= give_up_at:
                    raise
                if now >= tell_at:
                    say(f"device-auth: {busy}: waiting for it, at most {within:.0f} s")
                    tell_at = NEVER
                doors.clock.take(SimpleQueue(), later(now, LOCK_PAUSE))
        yield has_waited


# ---------------------------------------------------------------------------------------------------------
# The loop of one command


def refresh(doors: "Doors", link: Link, within: Seconds = REFRESH_TIME, *, asks_twice: bool = True) -> "Loop":
    """Refresh once and return the loop that did it, which knows the outcome. The lock must be held.

    Args:
        doors: whose token.
        link: its link.
        within: how long it may take.
        asks_twice: wait for the second answer where the first one is that the link is revoked.
    """
    loop = doors.open_loop(doors.open_refreshing(), lambda _view: None)
    loop.keep_linked(link)
    loop.run(lambda: _is_settled(loop, asks_twice=asks_twice), later(doors.clock.now(), within))
    return loop


def _is_settled(loop: "Loop", *, asks_twice: bool) -> bool:
    keeping = loop.keeping
    if keeping is None or keeping.grant is not None:
        return True
    return keeping.attempt > 0 and not (asks_twice and keeping.is_doubted)


def _run_to_the_end(loop: "Loop", until: Monotonic, came: "EndingSignals") -> Ending:
    """Run until linking has ended, and return what that is called if it brought no link.

    What ran out of time is cancelled. Where the terminal is gone all is left as a kill leaves it, to go on from.
    """
    from device_auth.core import linking

    def is_over() -> bool:
        return isinstance(loop.state, linking.Unlinked | linking.Linked)

    if not loop.run(lambda: came.has_hung_up or is_over(), until):
        loop.feed(linking.Cancelled())
        return Ending.TIMED_OUT
    return Ending.CANCELLED if is_over() else Ending.HUNG_UP


def _is_new_link(loop: "Loop", former: Link | None) -> bool:
    """Return whether linking ended with another link than the former one."""
    from device_auth.core import linking

    link = loop.stored_link
    is_former = link is None or (former is not None and link.link_id == former.link_id)
    return isinstance(loop.state, linking.Linked) and not is_former


def _result_of(loop: "Loop", former: Link | None, without_link: Ending) -> LinkResult:
    refusal = getattr(loop.state, "refusal", None)
    if refusal is not None:
        return LinkResult(Ending.REFUSED, refusal)
    if _is_new_link(loop, former):
        return LinkResult(Ending.LINKED, doubt=loop.speaker.doubt)
    return LinkResult(without_link, answer_counts=loop.answer_counts)


@contextmanager
def _cancelled_by_signals(loop: "Loop") -> "Iterator[EndingSignals]":
    from device_auth.core import linking
    from device_auth.world.signals import cancelled_by_signals

    with cancelled_by_signals(
        lambda: loop.post(linking.Cancelled()), lambda: loop.call_soon(lambda: None)
    ) as came:
        yield came
