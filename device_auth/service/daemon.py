"""The daemon: what a press, a program and a signal mean to a speaker that runs for years.

It owns the loop and decides nothing about linking or refreshing; it says what a gesture asks for, keeps the
service manager informed, and survives settings that are wrong and parts that are missing.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, assert_never

from device_auth.core import linking
from device_auth.core.errors import ConfigError, DeviceAuthError, StoreError
from device_auth.core.models import (
    FOREVER,
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
from device_auth.core.states import OneTimeNotice, Trouble
from device_auth.core.values import dataclass
from device_auth.service.loop import Loop
from device_auth.service.provider_client import ProviderClient, dialect_of

if TYPE_CHECKING:
    from hardware.button import Gesture

log: Final = logging.getLogger(__name__)

PRESENCE: Final = Seconds(900)
"""How long after a press, or a look at the page, someone counts as there: an expired code is renewed once."""

PRESS_REMEMBERED: Final = Seconds(120)
"""How long a press without a network is remembered."""

CONFIRM_WITHIN: Final = Seconds(10)
"""How long a hold waits for its confirming tap."""

WATCHED_EVERY: Final = Seconds(60)
"""The loop shows the watchdog that it lives at least so often; no wait is longer, which also sees a suspend."""


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """What the settings say, as far as they could be read.

    Attributes:
        conversation: speaks with the provider; one without a provider where the settings name none.
        problem: why they name none, or why a link could not be stored as they want it.
        renewals: how often an expired code is renewed while someone is there.
    """

    conversation: ProviderClient
    problem: ConfigError | StoreError | None
    renewals: int


class Daemon:
    """Runs the loop for years.

    Args:
        loop: steps and carries out.
        clock: tells time.
        plan: what the settings say.
        read_plan: reads them anew.
        refuse_code: returns why this speaker cannot show a code, or None.
        wipe: removes every file of ours, with proof; called with the loop's link forgotten.
        revoke: tells the provider that a link is over; must not block.
        alive: hears at least once a minute that the loop lives.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        clock: WaitingClock,
        plan: DaemonOptions,
        read_plan: Callable[[], DaemonOptions],
        refuse_code: Callable[[], Refusal | None],
        wipe: Callable[[], None],
        revoke: Callable[[Link], None],
        alive: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._plan = plan
        self._read_plan = read_plan
        self._refuse_code = refuse_code
        self._wipe = wipe
        self._revoke = revoke
        self._alive = alive
        self._is_stopping = False
        self._asked: OneTimeNotice | None = None
        self._asked_until = NEVER
        self._broken: dict[str, Refusal] = {}

    # -- from any thread or signal handler

    def stop(self) -> None:
        """End soon; what is stored and what is pending stays."""

        def stop() -> None:
            self._is_stopping = True

        self._loop.call_soon(stop)

    def reload(self) -> None:
        """Read the settings anew; ones that cannot be used leave the old ones in force."""
        self._loop.call_soon(self._reload)

    def on_gesture(self, gesture: "Gesture") -> None:
        """Answer a gesture of the button."""
        self._loop.call_soon(lambda: self._answer(gesture))

    def on_part_failure(self, part: str, trouble: Refusal) -> None:
        """Show the trouble of a part that does not work; the other parts go on."""
        self._loop.call_soon(lambda: self._set_broken(part, trouble))

    def want_token(self, min_lifetime: Seconds) -> None:
        """Refresh early if the token in hand is too short."""
        self._loop.call_soon(lambda: self._loop.want_token(min_lifetime))

    def reject_token(self, access_token: str) -> None:
        """Refresh because this token was rejected, unless it is not the current one, or as fresh as can be."""

        def refresh() -> None:
            keeping = self._loop.keeping
            grant = None if keeping is None else keeping.grant
            is_current = grant is not None and grant.access_token == Secret(access_token)
            self._loop.want_token(FOREVER if is_current else Seconds(0))

        self._loop.call_soon(refresh)

    def link(self, *, again: bool = False) -> None:
        """Begin to link, or tell the code again, for someone who reads the code off the socket.

        Args:
            again: although there is a link, which stays in use until a new one is proved.
        """
        self._loop.call_soon(lambda: self._link(self._misconfigured(), again=again))

    def cancel(self) -> None:
        """End linking without a link."""
        self._loop.post(linking.Cancelled())

    def unlink(self) -> None:
        """Forget the account."""
        self._loop.call_soon(self._unlink)

    def owner_left(self) -> None:
        """Hear that the owner left the page by its link, to approve."""
        self._loop.post(linking.OwnerLeft())

    def owner_is_back(self) -> None:
        """Hear that the page is seen again."""
        self._loop.post(linking.OwnerBack())

    # -- on the loop's thread

    def run(self, started: Callable[[], None], kept: TokenGrant | None = None) -> None:
        """Run until stopped.

        Args:
            started: hears that everything is up.
            kept: the access token that a restart left behind.

        Raises:
            StoreError: the store cannot be read at all.
        """
        self._loop.resume(self._request(), kept)
        self._show_fault()
        started()
        while not self._is_stopping:
            self._alive()
            self._let_go_of_question()
            until = min(later(self._clock.now(), WATCHED_EVERY), self._asked_until)
            self._run_loop(until)

    def _run_loop(self, until: Monotonic) -> None:
        """Run the loop until then, or until a question that was asked meanwhile is over sooner."""
        self._loop.run(lambda: self._is_stopping or self._asked_until < until, until)

    def _answer(self, gesture: "Gesture") -> None:
        from hardware.button import Gesture  # loaded already where there is a button

        log.info("the button: %s", gesture)
        self._let_go_of_question()
        match gesture:
            case Gesture.TAP if self._asked is OneTimeNotice.CONFIRM_UNLINK:
                self._ask(None)
                self._unlink()
            case Gesture.TAP if self._asked is OneTimeNotice.CONFIRM_RESET:
                self._ask(None)
                self._reset()
            case Gesture.TAP:
                self._link(self._misconfigured() or self._refuse_code())
            case Gesture.HOLD_5S:
                self._ask(OneTimeNotice.CONFIRM_UNLINK)
            case Gesture.HOLD_10S:
                self._ask(OneTimeNotice.CONFIRM_RESET)
            case Gesture.STUCK:
                hint = "Free the button, or check its wiring: device-auth hardware test"
                self._set_broken("button", Refusal(Trouble.HARDWARE, "", "the button is stuck", hint))
            case Gesture.FREED:
                self._broken.pop("button", None)
                self._show_fault()
            case Gesture.HELD_5S | Gesture.HELD_10S:
                pass  # the light answers
            case _:
                assert_never(gesture)

    def _ask(self, question: OneTimeNotice | None) -> None:
        """Ask for a confirming tap, or no longer."""
        self._asked = question
        self._asked_until = NEVER if question is None else later(self._clock.now(), CONFIRM_WITHIN)
        if question is not None:
            self._loop.tell_notice(question)

    def _let_go_of_question(self) -> None:
        """Ask no longer for a confirming tap that has not come in time."""
        if self._clock.now() >= self._asked_until:
            self._ask(None)
            self._loop.tell_notice(OneTimeNotice.CANCELLED)

    def _link(self, problem: Refusal | None, *, again: bool = False) -> None:
        """Do what a tap asks for: a link if there is none or another is wanted, else to be told what there is to tell.

        Args:
            problem: why no code can be had, or told, if so.
            again: another link is wanted.
        """
        asking = linking.Unlinked | linking.Linked if again else linking.Unlinked
        if problem is not None and isinstance(self._loop.state, asking):
            log.warning("a press cannot be answered with a code: %s", problem.message)
            self._loop.problem = problem
            self._loop.tell_again()
            return
        self._loop.feed(self._request(again=again))

    def _unlink(self) -> None:
        try:
            link = self._loop.unlink()
        except StoreError as error:
            self._tell_storage(error)
            return
        log.info("unlinked: the account is forgotten")
        self._loop.tell_notice(OneTimeNotice.JUST_UNLINKED)
        if link is not None:
            self._revoke(link)

    def _reset(self) -> None:
        """Wipe everything, and start afresh; the settings, and with them the unit's identity, stay."""
        try:
            link = self._loop.unlink()
            self._wipe()
        except StoreError as error:
            self._tell_storage(error)
            return
        self._loop.tell_notice(OneTimeNotice.JUST_RESET)
        if link is not None:
            self._revoke(link)

    def _reload(self) -> None:
        try:
            plan = self._read_plan()
            if plan.problem is not None and self._plan.problem is None:
                raise plan.problem
        except DeviceAuthError as error:
            log.error("the settings cannot be used, the old ones stay in force: %s", error)
            return
        self._plan = plan
        log.info("the settings were read anew")
        self._loop.use_provider_client(self._plan.conversation)
        self._show_fault()
        self._look_for_link_again()

    def _look_for_link_again(self) -> None:
        """Take up a link that could not be opened before: its key may have been brought back."""
        if self._loop.stored_link is not None or not isinstance(self._loop.state, linking.Unlinked):
            return
        try:
            self._loop.resume(self._request())
        except StoreError as error:
            self._tell_storage(error)

    def _request(self, *, again: bool = False) -> linking.LinkRequested:
        """Make the request that a press makes."""
        now = self._clock.now()
        conversation = self._plan.conversation
        return linking.LinkRequested(
            rules=conversation.rules if conversation.has_provider else dialect_of(DialectName.LWA).RULES,
            renewals=self._plan.renewals,
            present_until=later(now, PRESENCE),
            give_up_after=PRESS_REMEMBERED,
            again=again,
        )

    def _set_broken(self, part: str, refusal: Refusal) -> None:
        self._broken[part] = refusal
        log.error("%s", refusal.message)
        self._show_fault()

    def _tell_storage(self, error: StoreError) -> None:
        log.error("%s", error)
        self._loop.problem = Refusal(Trouble.STORAGE, "", str(error), error.hint)

    def _misconfigured(self) -> Refusal | None:
        problem = self._plan.problem
        if problem is None:
            return None
        trouble = Trouble.STORAGE if isinstance(problem, StoreError) else Trouble.MISCONFIGURED
        return Refusal(trouble, "", str(problem), problem.hint)

    def _show_fault(self) -> None:
        """Return what is wrong with the speaker itself: first its settings, then its parts."""
        self._loop.problem = self._misconfigured() or next(iter(self._broken.values()), None)
