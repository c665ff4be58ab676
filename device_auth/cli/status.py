"""``device-auth status``: the state, since when, and the next step; with ``--check``, whether a fresh token is there."""

import argparse
import sys
from typing import TYPE_CHECKING, Final

from device_auth.assembly.doors import open_doors
from device_auth.assembly.opening import read_health, read_status
from device_auth.cli.output import print_json, print_line
from device_auth.core.errors import ClientRejected, NotLinked, RefreshRejected
from device_auth.core.models import Mark
from device_auth.core.public import TOKENLESS, health_fields, status_fields, status_text
from device_auth.core.states import STATES, TROUBLES, Phrase, StateWord, Trouble
from device_auth.prompts.stderr import width_of, words_for

if TYPE_CHECKING:
    from device_auth.assembly.doors import Doors
    from device_auth.core.public import SpeakerStatus

CODES: Final[dict[str, int]] = {
    Mark.REVOKED: RefreshRejected.exit_code,
    Mark.MISCONFIGURED: ClientRejected.exit_code,
}
"""The exit code of a reason why a speaker is unhealthy; that of any other is ``NotLinked``'s."""

VALUES: Final = 13
"""The column in which a status has its values."""

NEXT_STEPS: Final = {
    **{word.value: f"{phrase.sentence} {phrase.next_step}" for word, phrase in STATES.items()},
    **{word.value: f"{phrase.sentence} {phrase.next_step}" for word, phrase in TROUBLES.items()},
    Mark.HANDED_OVER.value: "The link was handed over to another client. Link it again: device-auth link",
    TOKENLESS: "The speaker is linked, and no fresh access token is there. Run: device-auth token",
}
"""The sentences for each reason."""


def _next_steps(doors: "Doors") -> dict[str, str]:
    """Return the sentences for each reason, in the language of the settings where it has them."""
    words = words_for(doors.locale, sys.stdout)
    if words is None:
        return NEXT_STEPS
    from device_auth.prompts.wording import written_phrase

    phrases = {word.value: written_phrase(words, word, Trouble.NONE) for word in StateWord}
    for trouble in words.troubles:
        phrases[trouble] = written_phrase(words, StateWord.UNLINKED, Trouble(trouble))
    return NEXT_STEPS | {word: " ".join(phrase).strip() for word, phrase in phrases.items()}


def _written(doors: "Doors", status: "SpeakerStatus") -> Phrase | None:
    """Return the words of a status in the language of the settings; None for English."""
    words = words_for(doors.locale, sys.stdout)
    if words is None:
        return None
    from device_auth.prompts.wording import written_phrase

    return written_phrase(
        words,
        StateWord(status.state),
        Trouble(status.trouble),
        status.hint,
        is_checking=status.is_checking,
        lasts=status.lasts,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="report whether the speaker is linked and a fresh access token is there: 0, or 75, 77 or 78 by cause",
    )


def run(args: argparse.Namespace) -> int:
    """Print the status, or the health."""
    doors = open_doors(vars(args))
    return check(doors) if args.check else show(doors)


def show(doors: "Doors") -> int:
    """Print the status, and return the exit code."""
    status = read_status(doors)
    fields = status_fields(status)
    if doors.is_json:
        print_json(fields)
    else:
        _print_sentences(status_text(fields, _written(doors, status)), VALUES)
    is_known = not status.service or status.state != StateWord.STARTING
    return 0 if is_known else NotLinked.exit_code


def _print_sentences(text: str, indent: int = 0) -> None:
    """Print lines; on a terminal each is broken between its words, and goes on in the column ``indent``."""
    if sys.stdout.isatty():
        from device_auth.prompts.terminal_layout import wrap

        width = width_of(sys.stdout) - indent
        text = "\n".join(
            line[:indent] + f"\n{'':{indent}}".join(wrap(line[indent:], width)) for line in text.splitlines()
        )
    print_line(text)


def check(doors: "Doors") -> int:
    """Print the health, and return the exit code."""
    health = read_health(doors)
    if doors.is_json:
        print_json(health_fields(health))
    elif health.reason is None:
        print_line("healthy")
    else:
        hint = health.hint or _next_steps(doors).get(health.reason, "")
        _print_sentences(f"unhealthy ({health.reason}): {hint}".rstrip(": "))
    return 0 if health.reason is None else CODES.get(health.reason, NotLinked.exit_code)
