"""The speaker whose link the service holds: each verb by its socket."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from device_auth.assembly.announcing import announcing
from device_auth.assembly.service import STOP_FIRST
from device_auth.assembly.speaker import (
    ALREADY_LINKED,
    ERRORS,
    Audience,
    Ending,
    LinkOptions,
    LinkResult,
    UnlinkResult,
    error_of_mark,
    no_fresh_token,
    unexplained,
)
from device_auth.client import Client, ClientError, Refused, Revoked, SpeakerUnlinked, TryLater
from device_auth.core.errors import StoreBusy, StoreError
from device_auth.core.models import (
    NEVER,
    CodePair,
    DialectName,
    Mark,
    Refusal,
    Seconds,
    Secret,
    UnixTime,
    View,
    later,
)
from device_auth.core.public import AccessToken, HandOver, SpeakerStatus
from device_auth.core.states import TROUBLES, StateWord, Trouble
from device_auth.prompts.stderr import say
from device_auth.world.settings import ENVIRONMENT, given_outside_file
from device_auth.world.signals import cancelled_by_signals

if TYPE_CHECKING:
    from datetime import datetime

    from device_auth.assembly.doors import Doors
    from device_auth.client import Status

RESTING: Final = {StateWord.UNLINKED, StateWord.LINKED}
"""The states in which no link is being made."""

BEGINS_WITHIN: Final = Seconds(2)
"""How long the service may take to begin."""

UNLINKS_WITHIN: Final = Seconds(25)
"""How long the service may take to forget the account: its loop may be waiting for the disk."""

LOOKS_EVERY: Final = Seconds(0.1)


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
        connect: makes a client of it.
    """

    def __init__(self, doors: "Doors", socket: Path, connect: Callable[..., Client] = Client) -> None:
        self._doors = doors
        self._client = connect(str(socket))
        # another client: its pauses end when nobody waits for events any more
        self._has_ended = Event()
        self._follower = connect(str(socket), pause=self._pause_before_connecting)

    def status(self) -> SpeakerStatus:
        """Return the state that the service reports.

        Raises:
            StoreError: if the service does not answer.
        """
        with _answered():
            return _read_status(self._client.status())

    def token(self, min_lifetime: int) -> AccessToken:
        """Return the service's access token.

        Raises:
            DeviceAuthError: if there is none; the class tells why.
        """
        self._report_unused()
        with _answered():
            try:
                token = self._client.token(min_lifetime)
            except Revoked as error:
                raise error_of_mark(Mark.REVOKED, None) from error
            except SpeakerUnlinked as error:
                status = _read_status(self._client.status())
                raise error_of_mark(*_mark_of(status)) from error
            except TryLater as error:
                raise no_fresh_token(self._client.status().trouble) from error
        expires_at = UnixTime(token.expires_at.timestamp())
        return AccessToken(Secret(token.access_token), expires_at, token.expires_in)

    def unlink(self, *, is_wipe: bool) -> UnlinkResult:
        """Have the service forget the account, and wait until it has.

        Raises:
            StoreError: if it could not.
        """
        if is_wipe:
            raise StoreBusy("the service holds the link, so not every file can be removed", hint=STOP_FIRST)
        clock = self._doors.clock
        with _answered():
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

    # -- a new link

    def link(self, options: LinkOptions, audience: Audience) -> LinkResult:
        """Have the service link the speaker, and tell the code here as well.

        Raises:
            DeviceAuthError: if the service refuses, or does not answer.
        """
        self._report_unused()
        clock = self._doors.clock
        until = NEVER if options.timeout is None else later(clock.now(), options.timeout)
        inbox: SimpleQueue[View | LinkResult | Exception | _Signal] = SimpleQueue()

        def follow() -> None:
            try:
                inbox.put(self._follow(inbox.put, again=options.again))
            except Exception as error:  # noqa: BLE001  the waiting thread raises it
                inbox.put(error)

        def wake() -> None:
            inbox.put(_Signal.CAME)

        with announcing(self._doors, audience) as tell, cancelled_by_signals(wake, wake) as is_cancelled:
            Thread(target=follow, name="events", daemon=True).start()
            is_answered = False
            try:
                while True:
                    item = clock.take(inbox, until)
                    match item:
                        case View():
                            is_answered = is_answered or item.code_pair is not None
                            tell(item)
                        case LinkResult():
                            return item
                        case Exception():
                            raise item
                        case None:
                            return self._give_up(Ending.TIMED_OUT, is_answered=is_answered)
                        case _Signal():
                            if is_cancelled():
                                return self._give_up(Ending.CANCELLED, is_answered=is_answered)
            finally:
                self._has_ended.set()

    def _give_up(self, ending: Ending, *, is_answered: bool) -> LinkResult:
        from device_auth.core.speaker import AnswerCounts

        with _answered():
            self._client.cancel()
        return LinkResult(ending, heard=AnswerCounts(usable=int(is_answered)))

    def _follow(self, tell: Callable[[View], None], *, again: bool) -> LinkResult:
        """Tell each view as it comes, until the speaker is linked (again) or linking has ended otherwise."""
        asked_at = last = None
        with _answered():
            for status in self._follower.events():
                view, stands = self._view_of(status), (status.state, status.since)
                if view.state is StateWord.LINKED and not again:
                    if asked_at is None:
                        return ALREADY_LINKED
                    tell(view)
                    return LinkResult(Ending.LINKED)
                if asked_at is None:
                    asked_at = stands
                    self._client.link(again=again)
                    if not self._has_begun(stands):
                        view = self._view_of(self._client.status())
                        tell(view)
                        return _refused(view)
                    continue
                if view.state is StateWord.LINKED and stands != asked_at:
                    if last is StateWord.REQUESTING and view.refusal is None:
                        return _refused(view)  # given up before there was a code
                    tell(view)
                    return LinkResult(Ending.LINKED) if view.refusal is None else _refused(view)
                if view.state is StateWord.LINKED:
                    continue  # of the former link: a token was refreshed meanwhile, or the like
                last = view.state
                tell(view)
                if view.state is StateWord.UNLINKED:
                    return _refused(view)
        raise AssertionError("events do not end")

    def _has_begun(self, before: "tuple[str, datetime]") -> bool:
        """Return whether the service has begun to link: one that cannot reports the state of before, and no event."""
        clock = self._doors.clock
        give_up_at = later(clock.now(), BEGINS_WITHIN)
        while clock.now() < give_up_at:
            status = self._client.status()
            if (status.state, status.since) != before or status.state not in RESTING:
                return True
            self._pause()
        return False

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
        return View(StateWord(status.state), trouble, status.hint, pair, refusal, status.account)

    def _report_unused(self) -> None:
        """Report which given settings are not used: the service has its own."""
        for name, origin in given_outside_file(self._doors.options, ENVIRONMENT):
            say(
                f"device-auth: {name} ({origin}) is not used: the service that holds the link has its own settings."
            )


def _refused(view: View) -> LinkResult:
    return LinkResult(Ending.REFUSED, view.refusal or unexplained(view.hint))


def _mark_of(status: SpeakerStatus) -> tuple[Mark | None, str | None]:
    """Return why the service has no token to give; a link that is stored and not in use bears a mark."""
    if status.handed_over is not None:
        return Mark.HANDED_OVER, status.handed_over.to
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
        dialect=status.dialect,
        version=status.version,
        handed_over=None if handed_over is None else HandOver(handed_over.to, _read_time(handed_over.at)),
    )


def _read_time(moment: "datetime | None") -> UnixTime | None:
    return None if moment is None else UnixTime(moment.timestamp())


@contextmanager
def _answered() -> Iterator[None]:
    """Turn an error of the client into one of the command.

    Raises:
        StoreError: if the service refuses, or does not answer.
    """
    try:
        yield
    except Refused as error:
        raise StoreError(
            f"permission denied by the service: {error}",
            hint="Use sudo, or join the group: sudo adduser $USER device-auth-admin",
        ) from error
    except ClientError as error:
        raise StoreError(
            f"the service does not answer: {error}", hint="Look at: systemctl status device-auth"
        ) from error
