"""``device-auth status``: what state, since when, what next; from the disk, without a network."""

import argparse

from device_auth import __version__
from device_auth.assembly.doors import Doors, open_doors
from device_auth.cli.output import print_json, print_line
from device_auth.cli.service import reach_service, status_fields
from device_auth.core.errors import StoreDamaged
from device_auth.core.models import MARKS, Link, Mark, PendingPair, UnixTime
from device_auth.core.public import rfc3339
from device_auth.core.states import STATES, TROUBLES, StateWord, Trouble


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is the verb's own: nothing."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Print the status."""
    speaker = open_doors(vars(args))
    service = reach_service(speaker)
    fields = read_status(speaker) if service is None else status_fields(service.status())
    if speaker.is_json:
        print_json(fields)
    else:
        for line in _lines(fields):
            print_line(line)
    return 0


def read_status(speaker: Doors) -> dict[str, object]:
    """Put together what ``status --json`` prints.

    Raises:
        StoreError: the store cannot be read, so nothing can be told.
    """
    pending = speaker.pending.read()
    try:
        link = speaker.store.read()
        word, trouble = _words(link, pending)
    except StoreDamaged:
        link, word, trouble = None, StateWord.UNLINKED, Trouble.STORAGE
    hint = STATES[word].next_step if trouble is Trouble.NONE else TROUBLES[trouble].next_step
    fields: dict[str, object] = {
        "state": word,
        "trouble": trouble,
        "since": _since(link),
        "hint": hint,
        "expires_at": _expires_at(speaker, word, pending),
        "account": None if link is None else link.account,
        "dialect": None if link is None else link.dialect,
        "version": __version__,
    }
    if link is not None and link.mark is Mark.HANDED_OVER:
        fields["handed_over"] = {"to": link.handed_over_to, "at": _since(link)}
    return fields


def _words(link: Link | None, pending: PendingPair | None) -> tuple[StateWord, Trouble]:
    if pending is not None:
        return StateWord.WAITING, Trouble.NONE
    if link is None:
        return StateWord.UNLINKED, Trouble.NONE
    if link.mark is not None:
        return StateWord.UNLINKED, MARKS[link.mark]
    return (StateWord.LINKED if link.is_proved else StateWord.PROVING), Trouble.NONE


def _since(link: Link | None) -> str | None:
    if link is None:
        return None
    return rfc3339(link.linked_at if link.marked_at is None else link.marked_at)


def _expires_at(speaker: Doors, word: StateWord, pending: PendingPair | None) -> str | None:
    """Say when the code in hand, or else the access token, runs out."""
    if pending is not None:
        return rfc3339(UnixTime(speaker.clock.wall() + pending.pair.expires_at - speaker.clock.now()))
    token = speaker.tokens.read() if word is StateWord.LINKED else None
    return None if token is None else rfc3339(token.expires_at)


def _handed_over(fields: object) -> str | None:
    match fields:
        case {"to": to, "at": at}:
            return f"to {to or 'another client'}" + (f", at {at}" if at else "")
        case _:
            return None


def _lines(fields: dict[str, object]) -> list[str]:
    word, trouble = StateWord(str(fields["state"])), Trouble(str(fields["trouble"]))
    telling = STATES[word] if trouble is Trouble.NONE else TROUBLES[trouble]
    rows = {
        "state": f"{word}: {telling.sentence}",
        "trouble": None if trouble is Trouble.NONE else trouble,
        "since": fields["since"],
        "handed over": _handed_over(fields.get("handed_over")),
        "next": fields["hint"],
        "account": fields["account"],
        "code until" if word is StateWord.WAITING else "token until": fields["expires_at"],
        "dialect": fields["dialect"],
    }
    return [f"{name + ':':<13}{value}" for name, value in rows.items() if value]
