"""``device-auth status``: the state, since when, and the next step."""

import argparse

from device_auth.assembly.doors import open_doors
from device_auth.assembly.opening import open_speaker
from device_auth.cli.output import print_json, print_line
from device_auth.core.public import status_fields
from device_auth.core.states import FOR_NOW, STATES, TROUBLES, StateWord, Trouble


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments: none."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Print the status."""
    doors = open_doors(vars(args))
    fields = status_fields(open_speaker(doors).status())
    if doors.is_json:
        print_json(fields)
    else:
        for line in _lines(fields):
            print_line(line)
    return 0


def _lines(fields: dict[str, object]) -> list[str]:
    word, trouble = StateWord(str(fields["state"])), Trouble(str(fields["trouble"]))
    phrase = STATES[word] if trouble is Trouble.NONE else TROUBLES[trouble]
    if word is StateWord.LINKED and trouble is Trouble.NONE and not fields["lasts"]:
        phrase = FOR_NOW
    rows = {
        "state": f"{word}: {phrase.sentence}",
        "trouble": None if trouble is Trouble.NONE else trouble,
        "since": fields["since"],
        "handed over": _handed_over(fields.get("handed_over")),
        "next": fields["hint"],
        "account": fields["account"],
        "user ID": fields["account_id"] if fields["account_id"] != fields["account"] else None,
        "code until" if word is StateWord.WAITING else "token until": fields["expires_at"],
        "dialect": fields["dialect"],
    }
    return [f"{name + ':':<13}{value}" for name, value in rows.items() if value]


def _handed_over(fields: object) -> str | None:
    match fields:
        case {"to": to, "at": at}:
            return f"to {to or 'another client'}" + (f", at {at}" if at else "")
        case _:
            return None
