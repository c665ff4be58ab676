"""``device-auth unlink``: forget the account; with ``--wipe``, everything, with proof."""

import argparse
from typing import TYPE_CHECKING

from device_auth.assembly.doors import Doors, open_doors
from device_auth.cli.output import print_json, print_line
from device_auth.cli.service import reach_service
from device_auth.cli.service import unlink as unlink_through
from device_auth.core.errors import StoreError
from device_auth.core.models import DialectName, Link, Seconds
from device_auth.core.states import StateWord
from device_auth.prompts.stderr import say
from device_auth.world.bounded import bounded
from device_auth.world.wiping import wipe

if TYPE_CHECKING:
    from device_auth.client import Client

REVOKING_TIME = Seconds(10)
"""How long the provider may take to hear that the link is over; the speaker has forgotten it by then."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is the verb's own."""
    parser.add_argument(
        "--wipe", action="store_true", help="remove every file of ours, and prove that no token is left"
    )


def run(args: argparse.Namespace) -> int:
    """Unlink the speaker."""
    speaker = open_doors(vars(args))
    service = reach_service(speaker)
    if service is not None:
        return _unlink_through(service, speaker, is_wipe=args.wipe)
    with speaker.store:
        link = _read_if_readable(speaker)
        told = _wipe(speaker) if args.wipe else _forget(speaker)
    is_revoked = link is not None and _revoke(speaker, link)
    if speaker.is_json:
        print_json({"state": StateWord.UNLINKED, "revoked": is_revoked, **told})
    else:
        print_line(StateWord.UNLINKED)
        for name, value in told.items():
            say(f"{name.replace('_', ' ')}: {value}")
        if link is not None and not is_revoked and not speaker.is_simulated:
            say(_where_it_is_listed(link))
    return 0


def _unlink_through(service: "Client", speaker: Doors, *, is_wipe: bool) -> int:
    """Have the daemon do it; whether a provider was told, it knows alone."""
    unlink_through(service, is_wipe=is_wipe)
    if speaker.is_json:
        print_json({"state": StateWord.UNLINKED})
    else:
        print_line(StateWord.UNLINKED)
        say("The account may still list this speaker; its owner removes it there.")
    return 0


def _read_if_readable(speaker: Doors) -> Link | None:
    """Return the link if it can be read: one that cannot is forgotten all the same."""
    try:
        return speaker.store.read()
    except StoreError as error:
        say(f"device-auth: {error}")
        return None


def _forget(speaker: Doors) -> dict[str, object]:
    speaker.tokens.withdraw()
    speaker.pending.forget()
    speaker.store.erase()
    return {}


def _wipe(speaker: Doors) -> dict[str, object]:
    """Remove every file of ours; what is told is the proof: had a token been found, it would be an error."""
    if speaker.is_simulated:
        speaker.amazon_memory.unlink(missing_ok=True)
    wiped = wipe(speaker.store, speaker.places.runtime_dir)
    return {
        "files_removed": len(wiped.removed),
        "secrets_looked_for": wiped.secrets,
        "bytes_searched": wiped.scanned,
        "secrets_found": 0,
        "files_not_read": len(wiped.unread),
    }


def _revoke(speaker: Doors, link: Link) -> bool:
    """Tell the provider, where it has a way to be told (RFC 7009); say whether it took it in time."""
    if not link.revocation_endpoint:
        return False
    conversation = speaker.open_refreshing()
    try:
        return bounded(lambda: conversation.revoke(link), REVOKING_TIME)
    except TimeoutError:
        return False


def _where_it_is_listed(link: Link) -> str:
    """Return where the owner removes the speaker from the account: no provider is told by us."""
    if link.dialect is DialectName.LWA:
        return (
            "The account still lists this speaker. Its owner removes it in the Alexa app under Devices, or on "
            "Amazon's site in the account settings under Login with Amazon."
        )
    return (
        "The account still lists this speaker. Its owner removes it in the provider's account settings, "
        "where connected apps and devices are listed."
    )
