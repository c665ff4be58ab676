"""``device-auth unlink``: forget the account; with ``--wipe``, everything, with proof."""

import argparse
import sys
from typing import Final

from device_auth.assembly.doors import open_doors
from device_auth.assembly.opening import open_speaker
from device_auth.cli.output import print_json, print_line
from device_auth.core.models import DialectName
from device_auth.core.states import StateWord
from device_auth.prompts.stderr import say, words_for
from device_auth.prompts.wording import DEFAULT_LANGUAGE, Wording, read_wording

MEDIA: Final = "media"
KEPT: Final = "files_kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "--wipe",
        action="store_true",
        help="remove every file of ours, and prove that no token is left; the unit's identity, its settings and the factory's lock stay",
    )


def run(args: argparse.Namespace) -> int:
    """Unlink the speaker."""
    doors = open_doors(vars(args))
    result = open_speaker(doors).unlink(is_wipe=args.wipe)
    if doors.is_json:
        print_json({"state": StateWord.UNLINKED, "revoked": result.is_revoked, **result.proof})
        return 0
    print_line(StateWord.UNLINKED)
    for name, value in result.proof.items():
        if name not in {MEDIA, KEPT}:
            say(f"{name.replace('_', ' ')}: {value}")
    kept = result.proof.get(KEPT)
    if isinstance(kept, list) and kept:
        say(f"Kept, as it is the unit's own and holds nothing of an account: {', '.join(kept)}")
    if MEDIA in result.proof:
        say(_what_the_disk_keeps(result.proof[MEDIA]))
    if result.dialect is not None and not result.is_revoked and not doors.is_simulated:
        words = words_for(doors.locale, sys.stderr) or read_wording(DEFAULT_LANGUAGE)
        say(_where_it_is_listed(words, result.dialect))
    return 0


def _what_the_disk_keeps(media: object) -> str:
    """Return what is left in blocks that no file has any more, and how to erase them."""
    if isinstance(media, dict) and media["held_plain_token"]:
        return (
            "The files are gone, but a card keeps old blocks until it needs them, and the refresh token stood there in"
            " plain text. To have them erased: sudo fstrim --all (where the card can), and remove the speaker from"
            " the account."
        )
    return (
        "No removed file held a refresh token in plain text. The old blocks of the card were not erased; what was sealed"
        " there is gone for good once its key is destroyed."
    )


def _where_it_is_listed(words: Wording, dialect: str) -> str:
    """Return where the owner removes the speaker from the account, which the provider has not done."""
    remove = "remove-lwa" if dialect == DialectName.LWA else "remove-rfc8628"
    return f"{words.command['still-listed']} {words.command[remove]}"
