"""The daemon: the answer to a press, a program and a signal, for years.

It runs the loop and decides nothing about linking or refreshing. It survives wrong settings and missing parts.
"""

import logging
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from device_auth.core import linking
from device_auth.core.errors import ConfigError, DeviceAuthError, StoreBusy, StoreError
from device_auth.core.identifying import identification
from device_auth.core.models import (
    NEVER,
    DialectName,
    Link,
    Monotonic,
    Refusal,
    Seconds,
    Secret,
    TokenGrant,
    later,
)
from device_auth.core.ports import WaitingClock
from device_auth.core.speaker import StoreAwaited
from device_auth.core.states import OneTimeNotice, Trouble
from device_auth.core.values import dataclass
from device_auth.service.loop import Loop
from device_auth.service.provider_client import ProviderClient, dialect_of

if TYPE_CHECKING:
    from hardware.button import Gesture

log: Final = logging.getLogger(__name__)

PRESENCE: Final = Seconds(900)
"""How long after a press, or a view of the page, a person counts as there: an expired code is renewed once."""

PRESS_REMEMBERED: Final = Seconds(120)
"""How long a press without a network is remembered."""

CONFIRM_WITHIN: Final = Seconds(10)
"""How long a hold waits for its confirming tap."""

LOCK_EVERY: Final = Seconds(1)
"""How often a lock that another process holds is tried: a command has it for seconds, another service for days."""

STORE_EVERY: Final = Seconds(10)
"""How often a store is tried that the disk refuses."""

WATCHED_EVERY: Final = Seconds(60)
"""The longest wait: the watchdog is told at least so often that the loop runs, and a suspend is noticed."""

SEALED_WITHIN: Final = Seconds(20)
"""How long a caller waits until the link is sealed: the loop may be waiting for the disk."""

ANEW_AFTER: Final = Seconds(2)
"""How long after an unlink a fresh process takes over: those who asked for it see the outcome first."""

ANEW_AT_LATEST: Final = Seconds(60)
"""How long the last words and a revocation are waited for."""

ANEW_LOOKS_EVERY: Final = Seconds(0.5)


class FreshStart(Protocol):
    """What a fresh process must not cut short, and what it takes over."""

    def is_busy(self) -> bool:
        """Return whether a person is still being told something, or the provider of the end of a link."""
        ...

    def hold(self) -> None:
        """Let new requests of programs wait, and have those that have come answered; not for long."""
        ...

    def go_on(self) -> None:
        """Answer requests again: it is put off."""
        ...


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """The settings of the daemon.

    Attributes:
        provider_client: has no provider where the settings name none.
        problem: why there is no provider, or why a link cannot be stored.
        renewals: how often an expired code is renewed while someone is there.
    """

    provider_client: ProviderClient
    problem: ConfigError | StoreError | None
    renewals: int


class Daemon:
    """Runs the loop for years.

    Args:
        loop: the loop.
        clock: the loop's clock.
        options: the settings.
        read_options: reloads the settings; raises DeviceAuthError if those in force are kept.
        check_route: returns why no request could leave this machine, or None.
        refuse_code: returns why this speaker cannot show a code, or None.
        wipe: removes every file of ours and checks it, after the link is forgotten.
        revoke: revokes a link at the provider, without blocking.
        report_alive: called at least once a minute while the loop runs.
        open_store: takes the lock of the store; may raise StoreError, and is called again. Returns the access token that a
            restart left behind, or None.
        seal: seals the stored link; returns the name of its key, or nothing if there is no link.
        fresh_start: makes ``run`` return after an unlink, for a fresh process: the memory of this one holds the
            former owner's refresh token in many copies, for hours. None for a service that goes on as it is.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        clock: WaitingClock,
        options: DaemonOptions,
        read_options: Callable[[], DaemonOptions],
        check_route: Callable[[], Refusal | None] = lambda: None,
        refuse_code: Callable[[], Refusal | None],
        wipe: Callable[[], None],
        revoke: Callable[[Link], None],
        report_alive: Callable[[], None],
        seal: Callable[[], str],
        open_store: Callable[[], TokenGrant | None] = lambda: None,
        fresh_start: FreshStart | None = None,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._options = options
        self._read_options = read_options
        self._check_route = check_route
        self._route_at = NEVER
        self._refuse_code = refuse_code
        self._wipe = wipe
        self._revoke = revoke
        self._report_alive = report_alive
        self._seal = seal
        self._open_store = open_store
        self._opens_at = NEVER
        self._fresh_start = fresh_start
        self._anew_at = NEVER
        self._anew_at_latest = NEVER
        self._is_stopping = False
        self._asked: OneTimeNotice | None = None
        self._asked_until = NEVER
        self._failed_parts: dict[str, Refusal] = {}
        self._pressed_at: Monotonic | None = None
        self._identified_at: Monotonic | None = None

    # -- from any thread or signal handler

    def stop(self) -> None:
        """Stop soon; the stored link and the pending code stay."""

        def stop() -> None:
            self._is_stopping = True

        self._loop.call_soon(stop)

    def reload(self) -> None:
        """Reload the settings; if the new ones cannot be used, the old ones are kept."""
        self._loop.call_soon(self._reload)

    def on_gesture(self, gesture: "Gesture") -> None:
        """Answer a gesture of the button."""
        self._loop.call_soon(lambda: self._answer(gesture))

    def on_part_failure(self, part: str, trouble: Refusal) -> None:
        """Show the trouble of a part that does not work; the other parts go on."""
        self._loop.call_soon(lambda: self._set_failed(part, trouble))

    def on_part_mended(self, part: str) -> None:
        """Show the trouble of a part no longer."""
        self._loop.call_soon(lambda: self._set_mended(part))

    def want_token(self, min_lifetime: Seconds) -> None:
        """Refresh early if the token does not last so long."""
        self._loop.call_soon(lambda: self._loop.want_token(min_lifetime))

    def reject_token(self, access_token: str) -> None:
        """Refresh because this token was rejected, unless another one is current or it is as fresh as possible."""
        rejected = Secret(access_token)
        self._loop.call_soon(lambda: self._loop.want_token(Seconds(0), rejected))

    def link(self, *, again: bool = False) -> None:
        """Start to link, or tell the code again, for a program that reads the code from the socket.

        Args:
            again: even if there is a link, which stays in use until a new one is proved.
        """
        self._loop.call_soon(lambda: self._link(self._misconfigured(), again=again))

    def adopt(self) -> None:
        """Use the link of another unit, for an administrator who knows that it is this speaker's own."""
        self._loop.call_soon(self._adopt)

    def seal(self) -> str:
        """Seal a plain link under the key that is set up, and use it; wait until that is done, from another thread.

        Returns:
            The name of the key; empty if there is no link.

        Raises:
            DeviceAuthError: if no key is set up, or the link cannot be stored.
        """
        done: SimpleQueue[str | DeviceAuthError] = SimpleQueue()

        def seal() -> None:
            try:
                done.put(self._seal())
            except DeviceAuthError as error:
                done.put(error)
            else:
                self._resume_with_key()

        self._loop.call_soon(seal)
        try:
            result = done.get(timeout=SEALED_WITHIN)
        except Empty:
            raise StoreError("the link is not sealed yet", hint="See the service's log.") from None
        if isinstance(result, DeviceAuthError):
            raise result
        return result

    def cancel(self) -> None:
        """Cancel linking."""
        self._loop.post(linking.Cancelled())

    def unlink(self) -> None:
        """Forget the account."""
        self._loop.call_soon(self._unlink)

    def owner_left(self) -> None:
        """Expect the approval soon: the owner left the page by its link."""
        self._loop.post(linking.OwnerLeft())

    def owner_is_back(self) -> None:
        """Poll soon: the page is seen again."""
        self._loop.post(linking.OwnerBack())

    def identify(self) -> None:
        """Let a person know which speaker this is, unless that was just done."""
        self._loop.call_soon(self._identify)

    # -- on the loop's thread

    def run(self, started: Callable[[], None]) -> bool:
        """Run until stopped, or until a fresh process is due.

        Args:
            started: called when the stored link is in use, or it is told why not yet.

        Returns:
            Whether a fresh process is due.
        """
        self._open()
        self._prove_route()
        started()
        while not self._is_stopping:
            self._report_alive()
            self._cancel_late_question()
            if self._clock.now() >= self._opens_at:
                self._open()
            if self._clock.now() >= self._route_at:
                self._prove_route()
            if self._may_leave():
                return True
            self._run_loop(min(later(self._clock.now(), WATCHED_EVERY), self._next_moment()))
        return False

    def _run_loop(self, until: Monotonic) -> None:
        """Run the loop until then, or until an earlier moment that comes up meanwhile."""
        self._loop.run(lambda: self._is_stopping or self._next_moment() < until, until)

    def _next_moment(self) -> Monotonic:
        return min(self._asked_until, self._anew_at, self._opens_at)

    def _open(self) -> None:
        """Take the lock and use the stored link; what hinders that is told, and tried again."""
        try:
            kept = self._open_store()
            self._loop.resume(self._request(), kept)
        except StoreError as error:
            is_held = isinstance(error, StoreBusy)
            hint = "It goes on by itself once that process has ended." if is_held else error.hint
            refusal = explained(Trouble.STORAGE, error, hint)
            if refusal != self._loop.speaker.awaited:
                log.error("%s", refusal.hint)
            self._loop.feed(StoreAwaited(refusal))
            self._opens_at = later(self._clock.now(), LOCK_EVERY if is_held else STORE_EVERY)
        else:
            self._opens_at = NEVER

    def _try_store_again(self) -> None:
        if not self._is_open:
            self._opens_at = self._clock.now()

    @property
    def _is_open(self) -> bool:
        return self._opens_at == NEVER

    def _may_leave(self) -> bool:
        """Return whether a fresh process is due, and nothing goes on that it would cut short."""
        now = self._clock.now()
        if now < self._anew_at or self._fresh_start is None:
            return False
        self._anew_at = later(now, ANEW_LOOKS_EVERY)
        if not self._is_at_rest() or (self._fresh_start.is_busy() and now < self._anew_at_latest):
            return False
        self._fresh_start.hold()
        self._take_what_has_come()
        if self._is_at_rest() and not self._is_stopping:
            return True
        self._fresh_start.go_on()
        return False

    def _is_at_rest(self) -> bool:
        """Return whether no link is being made, nobody is asked anything, and nothing is told that would be forgotten."""
        stage = self._loop.state
        is_resting = isinstance(stage, linking.Unlinked | linking.Linked) and stage.trouble is Trouble.NONE
        return is_resting and self._asked is None and not self._loop.is_request_out

    def _take_what_has_come(self) -> None:
        """Run the loop until everything in its inbox is done: a request that was answered must not be lost."""
        done: list[bool] = []
        self._loop.call_soon(lambda: done.append(True))
        self._loop.run(lambda: bool(done))

    def _answer(self, gesture: "Gesture") -> None:
        from hardware.button import Gesture  # loaded already where there is a button

        log.info("the button: %s", gesture)
        if gesture not in {Gesture.STUCK, Gesture.FREED}:
            self._pressed_at = self._clock.now()
        self._cancel_late_question()
        match gesture:
            case Gesture.TAP if self._asked is OneTimeNotice.CONFIRM_UNLINK:
                self._ask(None)
                self._unlink()
            case Gesture.TAP if self._asked is OneTimeNotice.CONFIRM_RESET:
                self._ask(None)
                self._unlink(is_reset=True)
            case Gesture.TAP:
                self._link(self._misconfigured() or self._refuse_code())
            case Gesture.HOLD_5S:
                self._ask(OneTimeNotice.CONFIRM_UNLINK)
            case Gesture.HOLD_10S:
                self._ask(OneTimeNotice.CONFIRM_RESET)
            case Gesture.STUCK:
                hint = "Free the button, or check its wiring: device-auth hardware test"
                self._set_failed("button", Refusal(Trouble.HARDWARE, "", "the button is stuck", hint))
            case Gesture.FREED:
                self._set_mended("button")
            case Gesture.HELD_5S:
                self._loop.tell_notice(OneTimeNotice.HELD_UNLINK)
            case Gesture.HELD_10S:
                self._loop.tell_notice(OneTimeNotice.HELD_RESET)
            case _:
                assert_never(gesture)

    def _ask(self, question: OneTimeNotice | None) -> None:
        """Ask for a confirming tap, or stop asking."""
        self._asked = question
        self._asked_until = NEVER if question is None else later(self._clock.now(), CONFIRM_WITHIN)
        if question is not None:
            self._loop.tell_notice(question)

    def _cancel_late_question(self) -> None:
        """Cancel a question whose confirming tap has not come in time."""
        if self._clock.now() >= self._asked_until:
            self._ask(None)
            self._loop.tell_notice(OneTimeNotice.CANCELLED)

    def _identify(self) -> None:
        now = self._clock.now()
        notice = identification(
            now, last=self._identified_at, pressed=self._pressed_at, state=self._loop.view().state
        )
        if notice is not None:
            self._identified_at = now
            self._loop.tell_notice(notice)

    def _link(self, problem: Refusal | None, *, again: bool = False) -> None:
        """Answer a tap: link if there is no link or ``again`` is set, otherwise tell the state again.

        Args:
            problem: why no code can be requested or shown, if so.
            again: even if there is a link.
        """
        wants_code = linking.Unlinked | linking.Linked if again else linking.Unlinked
        if problem is not None and isinstance(self._loop.state, wants_code):
            log.warning("cannot show a code after a press: %s", problem.message)
            self._loop.problem = problem
            self._loop.tell_again()
            return
        self._loop.feed(self._request(again=again))

    def _adopt(self) -> None:
        if not self._is_open:
            self._loop.tell_again()
            return
        try:
            if not self._loop.adopt(self._request()):
                self._loop.tell_again()
        except StoreError as error:
            self._show_storage_problem(error)

    def _unlink(self, *, is_reset: bool = False) -> None:
        """Forget the account; a reset wipes everything but the settings and the unit's identity."""
        if not self._is_open:
            self._loop.tell_again()
            return
        try:
            link = self._loop.unlink()
            if is_reset:
                self._wipe()
        except StoreError as error:
            self._show_storage_problem(error)
            return
        log.info("unlinked: the account is forgotten")
        if self._fresh_start is not None:
            self._anew_at = later(self._clock.now(), ANEW_AFTER)
            self._anew_at_latest = later(self._clock.now(), ANEW_AT_LATEST)
        self._loop.tell_notice(OneTimeNotice.JUST_RESET if is_reset else OneTimeNotice.JUST_UNLINKED)
        if link is not None:
            self._revoke(link)

    def _reload(self) -> None:
        try:
            options = self._read_options()
        except DeviceAuthError as error:
            log.error("cannot use the new settings, so the old ones are kept: %s", error)
            hint = f"{error.hint} Until then the former settings are kept."
            self._set_failed("settings", explained(Trouble.MISCONFIGURED, error, hint))
            self._try_store_again()
            return
        self._options = options
        self._set_mended("settings")
        log.info("the settings were reloaded")
        self._loop.use_provider_client(options.provider_client)
        self._prove_route()
        self._resume_with_key()

    def _resume_with_key(self) -> None:
        """Use a link that could not be opened before: its key, or the store, may be back."""
        if not self._is_open:
            self._try_store_again()
            return
        if self._loop.stored_link is not None or not isinstance(self._loop.state, linking.Unlinked):
            return
        try:
            self._loop.resume(self._request())
        except StoreError as error:
            self._show_storage_problem(error)

    def _request(self, *, again: bool = False) -> linking.LinkRequested:
        """Return the request of a press."""
        now = self._clock.now()
        client = self._options.provider_client
        return linking.LinkRequested(
            rules=client.rules if client.has_provider else dialect_of(DialectName.LWA).RULES,
            renewals=self._options.renewals,
            present_until=later(now, PRESENCE),
            give_up_after=PRESS_REMEMBERED,
            again=again,
        )

    def _set_failed(self, part: str, refusal: Refusal) -> None:
        self._failed_parts[part] = refusal
        log.error(
            "%s", refusal.hint if refusal.message in refusal.hint else f"{refusal.message}. {refusal.hint}"
        )
        self._show_problem()

    def _prove_route(self) -> None:
        """Show a fault of this machine that only a person can mend, and look again while it lasts."""
        fault = self._check_route()
        if fault is None:
            self._route_at = NEVER
            self._set_mended("route")
            return
        self._route_at = later(self._clock.now(), WATCHED_EVERY)
        if self._failed_parts.get("route") != fault:
            self._set_failed("route", fault)

    def _set_mended(self, part: str) -> None:
        self._failed_parts.pop(part, None)
        self._show_problem()

    def _show_storage_problem(self, error: StoreError) -> None:
        log.error("%s", error)
        self._loop.problem = Refusal(Trouble.STORAGE, "", str(error), error.hint)

    def _misconfigured(self) -> Refusal | None:
        problem = self._options.problem
        if problem is None:
            return None
        trouble = Trouble.STORAGE if isinstance(problem, StoreError) else Trouble.MISCONFIGURED
        return explained(trouble, problem, problem.hint)

    def _show_problem(self) -> None:
        """Show the problem of the speaker itself: that of the settings first, then that of a part."""
        self._loop.problem = self._misconfigured() or next(iter(self._failed_parts.values()), None)


def explained(trouble: Trouble, problem: DeviceAuthError, next_step: str) -> Refusal:
    """Return the trouble of a problem, whose cause stands in the hint: programs are given that alone.

    Args:
        trouble: that is shown.
        problem: its cause.
        next_step: of a person, as sentences.
    """
    return Refusal(trouble, "", str(problem), f"{problem}. {next_step}")
