"""The status and the access token as other programs read them: one JSON form for command line, socket and events."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from device_auth.core.models import Link, Mark, Secret, UnixTime
from device_auth.core.states import FOR_NOW, Phrase, StateWord, Trouble, phrase_of
from device_auth.core.values import dataclass

FRESH: Final = 60
"""Least seconds left of a fresh token, unless a program asks for more or less."""

LATEST: Final = UnixTime(253402300799.0)
"""The last second that RFC 3339 can write: 9999-12-31T23:59:59Z."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """The client that the link was moved to, and when."""

    to: str | None
    at: UnixTime | None


@dataclass(frozen=True, slots=True)
class SpeakerStatus:
    """The state of the speaker.

    Attributes:
        state: a ``StateWord``; a service of another version may know more of them, and of troubles.
        since: since when state and trouble are so, as far as that is known.
        expires_at: the end of the current code, or else of the access token.
        account: the name of the account, else its user ID; None if unknown.
        name: what people call the speaker.
        dialect: of the stored link; None if there is none.
        version: of the program that holds the link.
        account_id: the user ID of the account; None if unknown.
        linked_at: when the stored link was made, so that another link has another moment; None if there is none.
        lasts: what is stored outlasts a power cut, as far as is known.
        is_checking: the provider has refused the link once, and is being asked again.
        service: why the service that keeps the link does not answer, in one word; empty if it does, or there is none.
            The state is ``starting`` where this process cannot know it otherwise.
    """

    state: str
    trouble: str
    since: UnixTime | None
    hint: str
    expires_at: UnixTime | None
    account: str | None
    dialect: str | None
    version: str
    name: str
    handed_over: HandOver | None = None
    account_id: str | None = None
    linked_at: UnixTime | None = None
    lasts: bool = True
    is_checking: bool = False
    service: str = ""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token as it is handed out.

    Attributes:
        expires_in: whole seconds that are left of it.
    """

    access_token: Secret
    expires_at: UnixTime
    expires_in: int


TOKENLESS: Final = "no-fresh-token"
"""The reason of a speaker that is linked and has no trouble, only no token that lasts."""


@dataclass(frozen=True, slots=True)
class SpeakerHealth:
    """Whether other programs can have an access token now.

    Attributes:
        reason: why not, in one word: a state, a trouble, ``no-fresh-token``, ``handed-over`` or ``service-…``; None if
            they can.
        updated_at: when what this rests on last changed, as far as that is known.
        hint: for a person, if the reason is the service.
    """

    reason: str | None
    updated_at: UnixTime | None
    hint: str = ""


def health_of(
    state: StateWord,
    trouble: Trouble,
    link: Link | None,
    updated_at: UnixTime | None,
    *,
    has_fresh_token: bool,
) -> SpeakerHealth:
    """Return the health of a speaker: linked, and with a fresh token there.

    A trouble alone is not a reason while the token lasts, nor is a code in hand for another link.
    """
    is_usable = link is not None and link.mark is None
    if is_usable and has_fresh_token:
        return SpeakerHealth(None, updated_at)
    if link is not None and link.mark is not None:
        return SpeakerHealth(link.mark.value, updated_at)
    if trouble is not Trouble.NONE:
        return SpeakerHealth(trouble, updated_at)
    return SpeakerHealth(TOKENLESS if is_usable else state, updated_at)


def health_fields(health: SpeakerHealth) -> dict[str, object]:
    """Return the JSON object of a health."""
    fields: dict[str, object] = {
        "status": "healthy" if health.reason is None else "unhealthy",
        "reason": health.reason,
        "updated_at": _date(health.updated_at),
    }
    if health.hint:
        fields["hint"] = health.hint
    return fields


def write_json(value: object) -> str:
    """Return JSON in ASCII, with a question mark for each half of a surrogate pair: strict readers refuse those.

    A path whose bytes are not UTF-8 has them, and so may any JSON that was read.
    """
    text = json.dumps(value)
    if "\\ud" not in text:
        return text
    return json.dumps(json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace")))


def rfc3339(moment: UnixTime) -> str:
    """Return a moment as text, in UTC, to the second before."""
    return datetime.fromtimestamp(int(min(moment, LATEST)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hand_over_of(link: Link | None) -> HandOver | None:
    """Return where the link went, if another client has it now."""
    if link is None or link.mark is not Mark.HANDED_OVER:
        return None
    return HandOver(link.handed_over_to, link.marked_at)


def status_fields(status: SpeakerStatus) -> dict[str, object]:
    """Return the JSON object of a status."""
    fields: dict[str, object] = {
        "state": status.state,
        "trouble": status.trouble,
        "name": status.name,
        "since": _date(status.since),
        "hint": status.hint,
        "expires_at": _date(status.expires_at),
        "account": status.account,
        "account_id": status.account_id,
        "linked_at": _date(status.linked_at),
        "dialect": status.dialect,
        "version": status.version,
        "lasts": status.lasts,
        "is_checking": status.is_checking,
    }
    if status.service:
        fields["service"] = status.service
    if status.handed_over is not None:
        fields["handed_over"] = {"to": status.handed_over.to, "at": _date(status.handed_over.at)}
    return fields


def status_text(fields: Mapping[str, object], phrase: Phrase | None = None) -> str:
    """Return a status for people, in lines.

    Args:
        fields: the JSON object of it.
        phrase: its words in another language than English.
    """
    word, trouble = StateWord(str(fields["state"])), Trouble(str(fields["trouble"]))
    service = fields.get("service")
    if phrase is None:
        phrase = phrase_of(word, trouble, is_checking=bool(fields["is_checking"]))
        if word is StateWord.LINKED and trouble is Trouble.NONE and not fields["lasts"]:
            phrase = FOR_NOW
        phrase = phrase._replace(next_step=str(fields["hint"]))
    rows = {
        "state": None if service and word is StateWord.STARTING else f"{word}: {phrase.sentence}",
        "service": service,
        "trouble": None if trouble is Trouble.NONE else trouble,
        "since": fields["since"],
        "handed over": _handed_over(fields.get("handed_over")),
        "next": phrase.next_step,
        "name": fields["name"],
        "account": fields["account"],
        "user ID": fields["account_id"] if fields["account_id"] != fields["account"] else None,
        "code until" if word is StateWord.WAITING else "token until": fields["expires_at"],
        "dialect": fields["dialect"],
    }
    return "\n".join(f"{name + ':':<13}{value}" for name, value in rows.items() if value)


def _handed_over(fields: object) -> str | None:
    match fields:
        case {"to": to, "at": at}:
            return f"to {to or 'another client'}" + (f", at {at}" if at else "")
        case _:
            return None


def token_fields(token: AccessToken) -> dict[str, object]:
    """Return the JSON object of an access token."""
    return {
        "access_token": token.access_token.reveal(),
        "token_type": "bearer",
        "expires_at": rfc3339(token.expires_at),
        "expires_in": token.expires_in,
    }


def _date(moment: UnixTime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
