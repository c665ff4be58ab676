"""``device-auth token``: print a valid access token; refresh it first if too little of it is left."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING

from device_auth.assembly.doors import Doors, open_doors
from device_auth.cli.output import error_of, print_json, print_line
from device_auth.cli.service import print_token, reach_service, token_of
from device_auth.core.errors import ClientRejected, DeviceAuthError, NotLinked, RefreshRejected, StoreBusy
from device_auth.core.models import Link, Mark, Seconds, UnixTime, later
from device_auth.core.public import rfc3339
from device_auth.prompts.stderr import say
from device_auth.world.settings import add_secret_option

if TYPE_CHECKING:
    from device_auth.service.loop import Loop

MIN_LIFETIME = 60

PATIENCE = Seconds(45)
"""How long a refresh may take in all: one request, and another one if the first was doubtful."""

LOCK_PATIENCE = Seconds(5)
LOCK_PAUSE = Seconds(0.1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is the verb's own."""
    parser.add_argument(
        "--min-lifetime",
        type=_whole_seconds,
        default=MIN_LIFETIME,
        metavar="S",
        help=f"refresh if less than S seconds are left (default {MIN_LIFETIME})",
    )
    add_secret_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print an access token."""
    speaker = open_doors(vars(args))
    service = reach_service(speaker)
    if service is not None:
        print_token(token_of(service, args.min_lifetime), is_json=speaker.is_json)
        return 0
    link = usable(speaker.store.read())
    if not _print_kept(speaker, args.min_lifetime):
        for sentence in speaker.differences_from(link):
            say(f"device-auth: {sentence}")
        with speaker.simulated_amazon(link), locked(speaker):
            # Another process may have refreshed, or unlinked, while this one waited for the lock.
            if not _print_kept(speaker, args.min_lifetime):
                speaker.keys.sealing()  # a refresh may bring a new refresh token, which must be stored
                _refresh(speaker, usable(speaker.store.read()), args.min_lifetime)
    return 0


@contextmanager
def locked(speaker: Doors) -> Iterator[None]:
    """Take the store's lock; whoever has it now is likely refreshing too, and soon done.

    Raises:
        StoreError: it is not to be had in time.
    """
    give_up_at = later(speaker.clock.now(), LOCK_PATIENCE)
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(speaker.store)
                break
            except StoreBusy:
                if speaker.clock.now() >= give_up_at:
                    raise
                speaker.clock.take(SimpleQueue(), later(speaker.clock.now(), LOCK_PAUSE))
        yield


def usable(link: Link | None) -> Link:
    """Return the link if it may be used.

    Raises:
        DeviceAuthError: there is none, or why it is kept but not used.
    """
    if link is None:
        raise NotLinked("the speaker is not linked", hint="Link it: device-auth link")
    match link.mark:
        case None:
            return link
        case Mark.REVOKED:
            raise RefreshRejected(
                "the account no longer allows this speaker", hint="Link it again: device-auth link"
            )
        case Mark.MISCONFIGURED:
            raise ClientRejected(
                "the provider does not accept the client of this link",
                hint="Check the setting client_id, then link again: device-auth link",
            )
        case Mark.HANDED_OVER:
            whom = f" ({link.handed_over_to})" if link.handed_over_to else ""
            raise NotLinked(
                f"the link was handed over to another client{whom}", hint="Link it again: device-auth link"
            )


def _print_kept(speaker: Doors, min_lifetime: int) -> bool:
    """Print the token of the runtime folder if it lives long enough; say whether it did."""
    kept = speaker.tokens.read()
    if kept is None or kept.expires_at - speaker.clock.wall() < min_lifetime:
        return False
    _print(speaker, kept.access_token.reveal(), kept.expires_at)
    return True


def refresh(speaker: Doors, link: Link, patience: Seconds = PATIENCE, *, asks_twice: bool = True) -> "Loop":
    """Refresh once; the loop that did it knows what came of it. The lock must be held.

    Args:
        speaker: whose token.
        link: its link.
        patience: how long it may take.
        asks_twice: wait for the second answer where the first one says that the link is revoked.
    """
    loop = speaker.open_loop(speaker.open_refreshing(), lambda _view: None)
    loop.keep_linked(link)
    loop.run(lambda: _is_settled(loop, asks_twice=asks_twice), later(speaker.clock.now(), patience))
    return loop


def _refresh(speaker: Doors, link: Link, min_lifetime: int) -> None:
    loop = refresh(speaker, link)
    keeping = loop.keeping
    if keeping is None or keeping.grant is None:
        raise _why_not(loop)
    grant = keeping.grant
    left = grant.expires_at - speaker.clock.now()
    if left < min_lifetime:
        say(f"device-auth: the provider's tokens live {left:.0f} s only, less than --min-lifetime asks for")
    _print(speaker, grant.access_token.reveal(), UnixTime(speaker.clock.wall() + left))


def _is_settled(loop: "Loop", *, asks_twice: bool) -> bool:
    keeping = loop.keeping
    if keeping is None or keeping.grant is not None:
        return True
    return keeping.attempt > 0 and not (asks_twice and keeping.is_doubted)


def _why_not(loop: "Loop") -> DeviceAuthError:
    refusal = loop.view().refusal
    if refusal is not None:
        return error_of(refusal)
    return NotLinked(
        f"no fresh token is to be had now ({loop.view().trouble})",
        hint="The link is kept. Try again in a minute.",
    )


def _print(speaker: Doors, access_token: str, expires_at: UnixTime) -> None:
    if speaker.is_json:
        print_json(
            {
                "access_token": access_token,
                "token_type": "bearer",
                "expires_at": rfc3339(expires_at),
                "expires_in": max(0, int(expires_at - speaker.clock.wall())),
            }
        )
    else:
        print_line(access_token)


def _whole_seconds(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:  # noqa: PLR2004  a billion seconds are enough
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return int(text)
