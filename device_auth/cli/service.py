"""The verbs through the daemon: while it runs it alone holds the link, and the command line asks it by its socket."""

import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from device_auth.cli.output import REASONS, JsonLines, error_of, print_json, print_line
from device_auth.core.errors import (
    Busy,
    CodePairExpired,
    Interrupted,
    NotLinked,
    RefreshRejected,
    StoreBusy,
    StoreError,
)
from device_auth.core.models import CodePair, Refusal, Seconds, Secret, UnixTime, View, later
from device_auth.core.public import rfc3339
from device_auth.core.states import TROUBLES, StateWord, Trouble
from device_auth.core.values import replace
from device_auth.prompts.stderr import say
from device_auth.world.signals import interruptible
from device_auth.world.store import NEWEST

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from device_auth.assembly.doors import Doors
    from device_auth.client import Client, Status, Token

SYSTEM_SOCKET: Final = Path("/run/device-auth/api.sock")
"""Where the system's service listens."""

CLOSING_TIME: Final = Seconds(0.5)

RESTING: Final = {StateWord.UNLINKED, StateWord.LINKED}
"""The states in which no link is being made."""

BEGINS_WITHIN: Final = Seconds(2)
"""How long the service may take to begin."""

LOOKS_EVERY: Final = Seconds(0.1)

ASK_AS_MEMBER: Final = (
    "Ask as root (sudo), or join the group device-auth-client (for link and unlink: device-auth-admin):"
    " sudo usermod -aG device-auth-client USER, and log in anew."
)

STOP_FIRST: Final = (
    "Stop the service first: sudo systemctl stop device-auth.service device-auth.socket; or end the device-auth run that"
    " was started by hand."
)


def reach_service(speaker: "Doors") -> "Client | None":
    """Find the daemon that holds the link of this speaker; None if none runs, or the caller has a link of his own.

    With ``--runtime-dir`` only its own is looked for; with ``--state-dir`` alone, none: that is another speaker.

    Raises:
        Busy: one runs and does not answer the caller, who has no link of his own: nothing true can be told.
    """
    client, refusal = _look_for_service(speaker)
    if refusal and not _has_own_link(speaker):
        raise Busy(refusal, hint=ASK_AS_MEMBER)
    if refusal:
        say(f"device-auth: {refusal}")
    return client


def _look_for_service(speaker: "Doors") -> "tuple[Client | None, str]":
    """Return the daemon, if it answers, and why not, if it refuses to."""
    path = _socket_of(speaker)
    if path is None:
        return None, ""
    from device_auth.client import Client, ClientError, Refused

    client = Client(str(path))
    try:
        client.status()
    except Refused as error:
        client.close()
        return None, f"the service does not answer you: {error}"
    except ClientError:
        client.close()
        return None, ""
    return client, ""


def _has_own_link(speaker: "Doors") -> bool:
    with suppress(OSError):
        return (speaker.places.state_dir / NEWEST).exists()
    return False


def refuse_beside_service(speaker: "Doors", what: str = "link") -> None:
    """See that no daemon holds the link of this speaker, or another thing of its, for what cannot be done through it.

    Raises:
        Busy: one does.
    """
    if is_served(speaker):
        raise Busy(f"the service holds the {what}", hint=STOP_FIRST)


def is_served(speaker: "Doors") -> bool:
    """Return whether a daemon holds the link of this speaker, and with it the parts."""
    service, refusal = _look_for_service(speaker)
    if refusal:
        say(f"device-auth: {refusal}")
    if service is not None:
        service.close()
    return service is not None


def token_of(client: "Client", min_lifetime: int) -> "Token":
    """Ask for an access token.

    Raises:
        DeviceAuthError: there is none; the class says why.
    """
    from device_auth import client as service

    try:
        return client.token(min_lifetime)
    except service.Revoked as error:
        raise RefreshRejected(str(error), hint="Link it again: device-auth link") from error
    except service.SpeakerUnlinked as error:
        raise NotLinked(str(error), hint="Link it: device-auth link") from error
    except service.ClientError as error:
        raise NotLinked(str(error), hint="Try again in a minute.") from error


def print_token(token: "Token", *, is_json: bool) -> None:
    """Print it as ``token`` does."""
    if not is_json:
        print_line(token.access_token)
        return
    expires_at = rfc3339(UnixTime(token.expires_at.timestamp()))
    print_json(
        {
            "access_token": token.access_token,
            "token_type": "bearer",
            "expires_at": expires_at,
            "expires_in": token.expires_in,
        }
    )


def status_fields(status: "Status") -> dict[str, object]:
    """Return what ``status --json`` prints."""
    fields: dict[str, object] = {
        "state": status.state,
        "trouble": status.trouble,
        "since": _rfc3339(status.since),
        "hint": status.hint,
        "expires_at": _rfc3339(status.expires_at),
        "account": status.account,
        "dialect": status.dialect,
        "version": status.version,
    }
    if status.handed_over is not None:
        fields["handed_over"] = {"to": status.handed_over.to, "at": _rfc3339(status.handed_over.at)}
    return fields


def unlink(client: "Client", *, is_wipe: bool) -> None:
    """Have the service forget the account, and wait until it has.

    Raises:
        DeviceAuthError: it did not.
    """
    if is_wipe:
        raise StoreBusy("the service holds the link, so not every file can be removed", hint=STOP_FIRST)
    with _allowed():
        client.unlink()
        for status in client.events():
            if status.state == StateWord.UNLINKED:
                return
            if status.trouble == Trouble.STORAGE:
                raise StoreError(TROUBLES[Trouble.STORAGE].sentence, hint=status.hint)


def link(args: "argparse.Namespace", speaker: "Doors", client: "Client", lines: JsonLines | None) -> int:
    """Have the service link the speaker, and tell the code here as well.

    Raises:
        DeviceAuthError: how it ended, unless a person has read it.
    """
    from device_auth.prompts.fanout import PromptFanout

    is_read = lines is None or sys.stderr.isatty()
    prompts = []
    if is_read:
        from device_auth.prompts import terminal

        is_drawn = not args.no_qr
        prompts = [terminal.open_terminal(sys.stderr, environ_no_color=speaker.is_colourless, qr=is_drawn)]
    everyone = PromptFanout(prompts, speaker.clock, report=lambda name, _: say(f"the {name} does not work"))
    try:
        with interruptible():
            view = _follow(speaker, client, lines, everyone.tell, again=args.again)
    except KeyboardInterrupt:
        with _allowed():
            client.cancel()
        if lines is not None:
            lines.refused("cancelled", "")
        raise Interrupted(
            "interrupted: the code is discarded", hint="Ask for a new one: device-auth link"
        ) from None
    finally:
        everyone.close(CLOSING_TIME)
    if view.state is StateWord.LINKED and not (args.again and view.refusal is not None):
        if lines is not None:
            lines.linked()
        else:
            print_line(StateWord.LINKED)
        return 0
    refusal = view.refusal or _ended(view)
    if lines is not None:
        lines.refused(REASONS.get(refusal.trouble, "cancelled"), refusal.hint)
    error = (
        error_of(refusal)
        if refusal.trouble in REASONS
        else CodePairExpired(refusal.message, hint=refusal.hint)
    )
    if is_read:
        return error.exit_code
    raise error


def _follow(
    speaker: "Doors",
    client: "Client",
    lines: JsonLines | None,
    tell: "Callable[[View], None]",
    *,
    again: bool,
) -> View:
    """Tell each view as it comes, until the speaker is linked (again) or linking has ended otherwise."""
    asked_at = last = None
    with _allowed():
        for status in client.events():
            view, stands = _view_of(status, speaker), (status.state, status.since)
            if view.state is StateWord.LINKED and not again:
                return view
            if asked_at is None:
                asked_at = stands
                client.link(again=again)
                if not _has_begun(speaker, client, stands):
                    return _refused_at_once(_view_of(client.status(), speaker), tell)
                continue
            if view.state is StateWord.LINKED and stands != asked_at:
                is_given_up = last is StateWord.REQUESTING and view.refusal is None
                return replace(view, refusal=_ended(view)) if is_given_up else view
            if view.state is StateWord.LINKED:
                continue  # of the former link: a token was refreshed meanwhile, or the like
            last = view.state
            if lines is not None:
                lines.tell(view)
            tell(view)
            if view.state is StateWord.UNLINKED:
                return view
    raise AssertionError("events do not end")


def _has_begun(speaker: "Doors", client: "Client", before: tuple[str, datetime]) -> bool:
    """Return whether the service has begun to link: one that cannot tells the same as before, so no event comes."""
    give_up_at = later(speaker.clock.now(), BEGINS_WITHIN)
    while speaker.clock.now() < give_up_at:
        status = client.status()
        if (status.state, status.since) != before or status.state not in RESTING:
            return True
        speaker.clock.take(SimpleQueue(), later(speaker.clock.now(), LOOKS_EVERY))
    return False


def _refused_at_once(view: View, tell: "Callable[[View], None]") -> View:
    refused = view if view.refusal is not None else replace(view, refusal=_ended(view))
    tell(refused)
    return refused


def _view_of(status: "Status", speaker: "Doors") -> View:
    trouble = Trouble(status.trouble)
    ending = trouble in REASONS
    refusal = Refusal(trouble, "", TROUBLES[trouble].sentence, status.hint) if ending else None
    pair = None
    if status.code is not None:
        expires_in = Seconds(status.code.expires_in)
        pair = CodePair(
            user_code=status.code.user_code,
            device_code=Secret(""),
            verification_uri=status.code.verification_uri,
            prefilled_uri=status.code.verification_uri_complete,
            expires_in=expires_in,
            expires_at=later(speaker.clock.now(), expires_in),
            interval=Seconds(status.code.interval),
        )
    return View(StateWord(status.state), trouble, status.hint, pair, refusal, status.account)


def _ended(view: View) -> Refusal:
    return Refusal(Trouble.NONE, "", "linking ended without a link", view.hint)


def _socket_of(speaker: "Doors") -> Path | None:
    if speaker.is_simulated:
        return None
    own = speaker.places.runtime_dir
    if "runtime_dir" in speaker.options:
        candidates = [own]
    elif "state_dir" in speaker.options:
        candidates = []
    else:
        candidates = [SYSTEM_SOCKET.parent, own]
    for folder in candidates:
        if folder is not None and _is_socket(folder / SYSTEM_SOCKET.name):
            return folder / SYSTEM_SOCKET.name
    return None


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def _rfc3339(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(UnixTime(moment.timestamp()))


@contextmanager
def _allowed() -> Iterator[None]:
    """Turn what the service says no to into words for the person at the command line."""
    from device_auth.client import ClientError, Refused

    try:
        yield
    except Refused as error:
        raise StoreError(
            f"the service does not take that from you: {error}",
            hint="Use sudo, or join the group: sudo adduser $USER device-auth-admin",
        ) from error
    except ClientError as error:
        raise StoreError(
            f"the service does not answer: {error}", hint="Look at: systemctl status device-auth"
        ) from error
