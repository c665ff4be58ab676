"""The speaker whose link the service holds: each verb by its socket."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from enum import Enum
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from device_auth.assembly.announcing import announcing
from device_auth.assembly.service import ASK_AS_MEMBER, STOP_FIRST
from device_auth.assembly.speaker import (
    ERRORS,
    Audience,
    Ending,
    LinkOptions,
    LinkResult,
    UnlinkResult,
    error_of_mark,
    no_fresh_token,
    nothing_to_adopt,
    nothing_to_seal,
    unexplained,
)
from device_auth.client import Client, ClientError, Refused, Revoked, SpeakerUnlinked, TryLater, Unavailable
from device_auth.core.errors import Busy, ConfigError, NotLinked, StoreBusy, StoreError
from device_auth.core.models import (
    NEVER,
    CodePair,
    DialectName,
    Mark,
    Monotonic,
    Refusal,
    Seconds,
    Secret,
    UnixTime,
    View,
    later,
)
from device_auth.core.public import AccessToken, HandOver, SpeakerHealth, SpeakerStatus
from device_auth.core.states import FOR_NOW, TROUBLES, StateWord, Trouble
from device_auth.core.values import replace
from device_auth.prompts.stderr import say
from device_auth.world.bounded import bounded
from device_auth.world.settings import ENVIRONMENT, given_outside_file
from device_auth.world.signals import EndingSignals, cancelled_by_signals

if TYPE_CHECKING:
    from datetime import datetime

    from device_auth.assembly.doors import Doors
    from device_auth.client import Status

RESTING: Final = {StateWord.UNLINKED, StateWord.LINKED}
"""The states in which no link is being made."""

EVENTS_WITHIN: Final = Seconds(10)
"""How long the service may take to send its first event: every event stream may be taken."""

BEGINS_WITHIN: Final = Seconds(2)
"""How long the service may take to begin."""

ENDS_WITHIN: Final = Seconds(2)
"""How long the service may take to discard a code."""

UNLINKS_WITHIN: Final = Seconds(25)
"""How long the service may take to forget the account: its loop may be waiting for the disk."""

LOOKS_EVERY: Final = Seconds(0.1)

HEALTH_WITHIN: Final = Seconds(1)
"""How long the service may take to report its health; it has answered a moment ago."""

LOOK_AT_THE_SERVICE: Final = "Look at: systemctl status device-auth"


class _Signal(Enum):
    """A signal has come."""

    CAME = "came"


class _FollowingEnded(Exception):
    """Nobody waits for the service's events any more."""


class RemoteSpeaker:
    """Asks the service that holds the link.

    Args:
        doors: of this process.
        socket: of the service.
        first: its first answer; None if it was not asked yet.
        connect: makes a client of it.
    """

    def __init__(
        self,
        doors: "Doors",
        socket: Path,
        first: "Status | None" = None,
        connect: Callable[..., Client] = Client,
    ) -> None:
        self._doors = doors
        self._first = first
        self._client = connect(str(socket))
        # another client: its pauses end when nobody waits for events any more
        self._has_ended = Event()
        self._follower = connect(str(socket), pause=self._pause_before_connecting)

    def status(self) -> SpeakerStatus:
        """Return the state that the service reports.

        Raises:
            StoreError: if the service does not answer.
        """
        first, self._first = self._first, None
        if first is not None:
            return _read_status(first)
        with self._client, _answered():
            return _read_status(self._client.status())

    def health(self) -> SpeakerHealth:
        """Return the health that the service reports.

        Raises:
            StoreError: if the service does not answer.
        """
        try:
            with _answered():
                health = bounded(self._client.health, HEALTH_WITHIN)
        except TimeoutError as error:
            raise StoreError("the service does not answer", hint=LOOK_AT_THE_SERVICE) from error
        self._client.close()
        return SpeakerHealth(health.reason, _read_time(health.updated_at))

    def token(self, min_lifetime: int) -> AccessToken:
        """Return the service's access token.

        Raises:
            DeviceAuthError: if there is none; the class tells why.
        """
        self._report_unused()
        with self._client, _answered():
            try:
                token = self._client.token(min_lifetime)
            except Revoked as error:
                raise error_of_mark(Mark.REVOKED, None) from error
            except SpeakerUnlinked as error:
                status = _read_status(self._client.status())
                if status.dialect is None and status.trouble != Trouble.NONE:
                    raise NotLinked("the speaker is not linked", hint=status.hint) from error
                raise error_of_mark(*_mark_of(status)) from error
            except TryLater as error:
                raise no_fresh_token(self._client.status().trouble, error.retry_after) from error
        expires_at = UnixTime(token.expires_at.timestamp())
        return AccessToken(Secret(token.access_token), expires_at, token.expires_in)

    def unlink(self, *, is_wipe: bool) -> UnlinkResult:
        """Have the service forget the account, and wait until it has.

        Raises:
            StoreError: if it could not.
        """
        if is_wipe:
            raise StoreBusy("cannot remove every file: the service is using the link", hint=STOP_FIRST)
        clock = self._doors.clock
        with self._client, _answered():
            before = self._client.status()
            self._client.unlink()
            until = later(clock.now(), UNLINKS_WITHIN)
            while (status := self._client.status()).state != StateWord.UNLINKED:
                if status.trouble == Trouble.STORAGE or clock.now() >= until:
                    raise StoreError(TROUBLES[Trouble.STORAGE].sentence, hint=status.hint)
                self._pause()
        # The service asks the provider to revoke after it has answered, and LWA cannot be asked.
        is_revoked = None if before.dialect == DialectName.RFC8628 else False
        return UnlinkResult(before.dialect, is_revoked, {})

    def adopt(self) -> LinkResult:
        """Have the service use the link of another unit as this speaker's own, and wait until it does.

        Raises:
            DeviceAuthError: if there is none, or it could not be stored.
        """
        clock = self._doors.clock
        with self._client, _answered():
            before = self._client.status()
            if before.state == StateWord.LINKED:
                return LinkResult(Ending.ALREADY_LINKED, doubt=_doubt_of(before))
            if before.trouble != Trouble.COPIED:
                raise nothing_to_adopt()
            self._client.link(adopt=True)
            until = later(clock.now(), UNLINKS_WITHIN)
            while (status := self._client.status()).trouble == Trouble.COPIED and clock.now() < until:
                self._pause()
        if status.trouble in {Trouble.COPIED, Trouble.STORAGE}:
            raise StoreError(TROUBLES[Trouble.STORAGE].sentence, hint=status.hint)
        return LinkResult(Ending.LINKED, doubt=_doubt_of(status))

    def seal(self) -> None:
        """Have the service seal a plain link under the key that is set up for it.

        Raises:
            DeviceAuthError: if there is no link or no key, or the link could not be stored.
        """
        with self._client, _answered():
            try:
                self._client.seal()
            except SpeakerUnlinked as error:
                raise nothing_to_seal() from error
            except ClientError as error:
                if error.problem == "no-key":
                    raise ConfigError(str(error)) from error
                if error.problem == "storage":
                    raise StoreError(str(error)) from error
                raise

    # -- a new link

    def link(self, options: LinkOptions, audience: Audience) -> LinkResult:
        """Have the service link the speaker, and tell the code here as well.

        Raises:
            DeviceAuthError: if the service refuses, or does not answer.
        """
        self._report_unused()
        clock = self._doors.clock
        until = NEVER if options.timeout is None else later(clock.now(), options.timeout)
        inbox: SimpleQueue[Status | Exception | _Signal] = SimpleQueue()

        def follow() -> None:
            try:
                with closing(self._follower.events()) as events:
                    for status in events:
                        inbox.put(status)
                        if self._has_ended.is_set():
                            return
            except Exception as error:  # noqa: BLE001  the waiting thread raises it
                inbox.put(error)

        def wake() -> None:
            inbox.put(_Signal.CAME)

        with (
            announcing(self._doors, audience) as announcer,
            cancelled_by_signals(wake, wake) as came,
            self._client,
            _answered(),
        ):
            Thread(target=follow, name="events", daemon=True).start()
            try:
                return self._await_end(options, inbox, announcer.tell, came, until)
            finally:
                self._has_ended.set()
                self._follower.close()

    def _await_end(
        self,
        options: LinkOptions,
        inbox: "SimpleQueue[Status | Exception | _Signal]",
        tell: Callable[[View], None],
        came: EndingSignals,
        until: Monotonic,
    ) -> LinkResult:
        clock = self._doors.clock
        begins_until = later(clock.now(), EVENTS_WITHIN)
        attempt = _FollowedAttempt(tell, again=options.again)
        while True:
            match clock.take(inbox, min(until, begins_until)):
                case Exception() as error:
                    raise error
                case _Signal():
                    if came.has_hung_up:
                        return LinkResult(Ending.HUNG_UP)  # the service goes on
                    if came.is_cancelled:
                        return self._give_up(Ending.CANCELLED, attempt)
                case None if clock.now() >= until:
                    return self._give_up(Ending.TIMED_OUT, attempt)
                case None if attempt.is_before:
                    raise Unavailable("the service sends no events")
                case None:
                    result = attempt.judge_late(self._view_of(self._client.status()))
                    if result is not None:
                        return result
                    begins_until = NEVER
                case status:
                    is_first = attempt.is_before
                    result = attempt.judge(self._view_of(status))
                    if result is not None:
                        return result
                    if is_first:
                        self._client.link(again=options.again)
                        begins_until = later(clock.now(), BEGINS_WITHIN)
                    elif attempt.has_begun:
                        begins_until = NEVER

    def _give_up(self, ending: Ending, attempt: "_FollowedAttempt") -> LinkResult:
        from device_auth.core.speaker import AnswerCounts

        clock = self._doors.clock
        self._client.cancel()
        ends_until = later(clock.now(), ENDS_WITHIN)
        while (status := self._client.status()).state not in RESTING and clock.now() < ends_until:
            self._pause()
        attempt.tell(self._view_of(status))
        return LinkResult(ending, answer_counts=AnswerCounts(usable=int(attempt.is_answered)))

    def _pause(self) -> None:
        clock = self._doors.clock
        clock.take(SimpleQueue(), later(clock.now(), LOOKS_EVERY))

    def _pause_before_connecting(self, seconds: float) -> None:
        if self._has_ended.wait(seconds):
            raise _FollowingEnded

    def _view_of(self, status: "Status") -> View:
        trouble = Trouble(status.trouble)
        is_refusal = trouble in ERRORS and trouble is not Trouble.NONE
        refusal = Refusal(trouble, "", TROUBLES[trouble].sentence, status.hint) if is_refusal else None
        pair = None
        if status.code is not None:
            expires_in = Seconds(status.code.expires_in)
            pair = CodePair(
                user_code=status.code.user_code,
                device_code=Secret(""),
                verification_uri=status.code.verification_uri,
                prefilled_uri=status.code.verification_uri_complete,
                expires_in=expires_in,
                expires_at=later(self._doors.clock.now(), expires_in),
                interval=Seconds(status.code.interval),
            )
        return View(
            StateWord(status.state),
            trouble,
            status.hint,
            pair,
            refusal,
            status.account,
            account_id=status.account_id,
            doubt=_doubt_of(status),
            is_checking=status.is_checking,
        )

    def _report_unused(self) -> None:
        """Report which given settings are not used: the service has its own."""
        for name, origin in given_outside_file(self._doors.options, ENVIRONMENT):
            say(
                f"device-auth: {name} ({origin}) is not used: the service that holds the link has its own settings."
            )


class _FollowedAttempt:
    """One attempt of the service, as its events show it.

    Args:
        tell: told each view of the attempt.
        again: another link is asked for, if there is one.
    """

    def __init__(self, tell: Callable[[View], None], *, again: bool) -> None:
        self.tell = tell
        self._again = again
        self._last = StateWord.STARTING
        self.is_before = True
        self.has_begun = False
        self.is_answered = False

    def judge(self, view: View) -> LinkResult | None:
        """Return how the attempt ended, once it has; the first view is the one before it."""
        last, self._last = self._last, view.state
        self.has_begun = self.has_begun or view.state not in RESTING
        if view.state is StateWord.STARTING and view.trouble is not Trouble.NONE:
            return self._refuse(view)  # the store cannot be read, which may last
        if self.is_before:
            self.is_before = False
            is_linked = view.state is StateWord.LINKED and not self._again
            return LinkResult(Ending.ALREADY_LINKED, doubt=view.doubt) if is_linked else None
        if not self.has_begun:
            return None  # told again, or a token was refreshed
        self.is_answered = self.is_answered or view.code_pair is not None
        if view.state not in RESTING:
            self.tell(view)
            return None
        if view.state is StateWord.UNLINKED or (self._again and view.refusal is not None):
            return self._refuse(view)
        if self._again and last is StateWord.REQUESTING:
            return LinkResult(Ending.REFUSED, unexplained(view.hint))  # given up before there was a code
        self.tell(view)
        return LinkResult(Ending.LINKED, doubt=view.doubt)

    def judge_late(self, view: View) -> LinkResult | None:
        """Return how an attempt ended that has not begun in time; one that cannot begin has no event of its own."""
        self.has_begun = view.state not in RESTING
        if self.has_begun:
            return None
        is_linked = view.state is StateWord.LINKED and not self._again
        return LinkResult(Ending.LINKED, doubt=view.doubt) if is_linked else self._refuse(view)

    def _refuse(self, view: View) -> LinkResult:
        refused = view if view.refusal is not None else replace(view, refusal=unexplained(view.hint))
        self.tell(refused)
        return LinkResult(Ending.REFUSED, refused.refusal)


def _mark_of(status: SpeakerStatus) -> tuple[Mark | None, str | None]:
    """Return why the service has no token to give; a link that is stored and not in use bears a mark."""
    if status.handed_over is not None:
        return Mark.HANDED_OVER, status.handed_over.to
    if status.trouble == Trouble.COPIED:
        return Mark.COPIED, None
    return (None if status.dialect is None else Mark.MISCONFIGURED), None


def _read_status(status: "Status") -> SpeakerStatus:
    handed_over = status.handed_over
    return SpeakerStatus(
        state=status.state,
        trouble=status.trouble,
        since=_read_time(status.since),
        hint=status.hint,
        expires_at=_read_time(status.expires_at),
        account=status.account,
        account_id=status.account_id,
        linked_at=_read_time(status.linked_at),
        dialect=status.dialect,
        version=status.version,
        name=status.name,
        handed_over=None if handed_over is None else HandOver(handed_over.to, _read_time(handed_over.at)),
        lasts=status.lasts,
        is_checking=status.is_checking,
    )


def _doubt_of(status: "Status") -> str:
    """Return why what the service stores may not outlast a power cut; its hint says so only while all else is well."""
    if status.lasts:
        return ""
    is_well = status.state == StateWord.LINKED and status.trouble == Trouble.NONE
    return status.hint if is_well and status.hint else FOR_NOW.next_step


def _read_time(moment: "datetime | None") -> UnixTime | None:
    return None if moment is None else UnixTime(moment.timestamp())


@contextmanager
def _answered() -> Iterator[None]:
    """Turn an error of the client into one of the command.

    Raises:
        Busy: if the service denies permission.
        StoreError: if the service does not understand the request, or does not answer.
    """
    try:
        yield
    except Refused as error:
        if error.problem != "forbidden":
            raise StoreError(
                f"the service does not take this request: {error}",
                hint="Restart the service, which may be of another version: sudo systemctl restart device-auth",
            ) from error
        raise Busy(f"permission denied by the service: {error}", hint=ASK_AS_MEMBER) from error
    except ClientError as error:
        raise StoreError(f"the service does not answer: {error}", hint=LOOK_AT_THE_SERVICE) from error
