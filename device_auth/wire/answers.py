"""Reading an answer that may be anything at all, into the few values the machine knows.

Total: whatever the bytes, there is an answer. Only what is understood *and* final becomes a ``Refusal``;
everything else becomes ``Unclear``, and the machine asks again later.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from typing import Final
from urllib.parse import quote, quote_plus, urlencode, urlsplit

from device_auth.core.models import (
    Answer,
    CodePair,
    Pending,
    Profile,
    Provider,
    Refusal,
    Seconds,
    Secret,
    SlowDown,
    TokenGrant,
    Unclear,
    WireRequest,
    WireResponse,
    later,
)
from device_auth.core.states import Trouble
from device_auth.core.values import replace
from device_auth.wire.addresses import fault_of_address

MOST_RETRY_AFTER: Final = Seconds(3600)
"""A longer wait than an hour is not obeyed."""

DEFAULT_INTERVAL: Final = Seconds(5)
"""Wait between polls where the answer names none. Source: RFC 8628 §3.2."""

MOST_SECONDS: Final = 10 * 365 * 24 * 3600
"""A lifetime longer than ten years is taken for a mistake."""

ASSUMED_LIFETIME: Final = Seconds(600)
"""Of an access token whose lifetime cannot be read: short, so that a refresh follows soon."""

_NUMBER: Final = r"[0-9]{1,10}(\.[0-9]{1,10})?"

MOST_USER_CODE: Final = 64
MOST_DESCRIPTION: Final = 200
MOST_ACCOUNT: Final = 64

_BLANKS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Printable, and seen as nothing: Hangul fillers and the empty Braille pattern."""

LONGEST_WORD: Final = 24
"""Longer words of a description are left out: they could be a token or a code that the provider repeats."""

TELLING_PIECE: Final = 8
"""Characters of a secret that tell too much of it."""

SAYS: Final = " (it says: "

_ASKS_TO_WAIT: Final = frozenset({"authorization_pending", "slow_down"})

FORM: Final = "application/x-www-form-urlencoded"

Fields = Mapping[str, object]


def write_form(url: str, form: Mapping[str, str], **headers: str) -> WireRequest:
    """Write a request whose form-encoded body holds ``form``; empty values are left out.

    Source: RFC 6749 §3.2 and appendix B; RFC 8628 §3.1, §3.4.
    """
    body = urlencode({name: value for name, value in form.items() if value})
    return WireRequest(
        method="POST",
        url=url,
        headers={"Accept": "application/json", "Content-Type": FORM, **headers},
        body=body.encode("ascii"),
    )


def write_scope_data(provider: Provider) -> str:
    """Write what LWA wants to know beside the scope ``alexa:all``: which product, and which unit of it.

    Source: AVS Device SDK, ``CBLAuthDelegate.cpp``; LWA "Authorize an AVS Device Through a Web Service".
    """
    if "alexa:all" not in provider.scope.split():
        return ""
    unit = {"deviceSerialNumber": provider.dsn}
    product = {"productID": provider.product_id, "productInstanceAttributes": unit}
    return json.dumps({"alexa:all": product}, separators=(",", ":"))


def read_answer(
    response: WireResponse,
    read_success: Callable[[WireResponse, Fields], Answer | None],
    refusals: Mapping[str, Callable[[str, str], Answer]],
) -> Answer:
    """Read any answer of an OAuth endpoint.

    Args:
        response: any status; body at most 64 KiB, meant to be a JSON object in UTF-8.
        read_success: reads the fields of a 2xx answer; None if they are not of the documented form.
        refusals: for each error name that is understood here, in lower case, what makes the answer of it
            (given the name as it came and the description).

    Returns:
        The result of ``read_success`` or ``refusals``, else ``Unclear``.

    Source: RFC 6749 §5.1, §5.2; RFC 8628 §3.5.
    """
    fields = read_fields(response)
    if fields is None or is_from_another(response):
        return read_odd_answer(response)
    error = fields.get("error")
    make = refusals.get(error.casefold()) if isinstance(error, str) else None
    if isinstance(error, str) and make is not None and _may_be_understood(response.status, error):
        return make(error, clean(fields.get("error_description")))
    # An unknown error name beside a success must not discard the grant.
    answer = read_success(response, fields) if _is_success(response) else None
    if answer is not None:
        return answer
    if isinstance(error, str) and _may_be_understood(response.status, error):
        return unclear(response, "the answer has an error name that is not known")
    if _is_success(response):
        return unclear(response, "a required field is missing from the answer")
    return unclear(response, "the answer has no error name")


def is_from_another(response: WireResponse) -> bool:
    """Return whether something between us and the provider answered, or sent us elsewhere."""
    return response.status == 511 or 300 <= response.status < 400  # noqa: PLR2004  RFC 6585 §6; RFC 9110 §15.4


def read_odd_answer(response: WireResponse) -> Unclear:
    """Return what is odd about an answer that is not a JSON object, or not one of the provider's."""
    if response.status == 511:  # noqa: PLR2004  Network Authentication Required, RFC 6585 §6
        return _portal(response, "the network asks for a sign-in")
    if is_from_another(response):
        return _read_redirect(response)
    if _is_success(response) and _is_html(response):
        return _portal(response, "a web page came instead of an answer")
    return unclear(response, "the answer is no JSON object, too long, or broke off")


def retry_after(response: WireResponse) -> Seconds | None:
    """Read how long the provider wants to be left alone: seconds or an HTTP date, at most an hour.

    A date is measured against the answer's own ``Date``, since a speaker's clock may be wrong.

    Source: RFC 9110 §10.2.3.
    """
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return Seconds(min(int(text[:9]), MOST_RETRY_AFTER))
    until = _read_date(text)
    if until is None:
        return None
    sent = _read_date(response.headers.get("date", ""))
    length = until - (sent if sent is not None else response.received_at)
    return Seconds(min(max(0.0, length), MOST_RETRY_AFTER))


def read_grant(
    response: WireResponse, fields: Fields, *, refresh_token_wanted: bool, default_lifetime: Seconds
) -> TokenGrant | None:
    """Read a token answer's fields; None if there is no access token, or no refresh token where one is wanted.

    Whatever else is odd, the owner has approved and the account holds the grant: it is taken, and what is odd is
    named in ``odd_fields``.

    Args:
        response: the answer; the lifetime counts from before its request left.
        fields: its JSON object.
        refresh_token_wanted: whether an answer without a refresh token is not a grant.
        default_lifetime: stands in for an absent ``expires_in``; one that cannot be read is taken for
            ``ASSUMED_LIFETIME``, so that a refresh follows soon.

    Source: RFC 6749 §5.1.
    """
    access_token = read_token(fields.get("access_token"))
    refresh_token = read_token(fields.get("refresh_token"))
    if access_token is None or (refresh_token_wanted and refresh_token is None):
        return None
    lifetime = read_seconds(fields.get("expires_in"))
    expires_in = lifetime or (default_lifetime if "expires_in" not in fields else ASSUMED_LIFETIME)
    token_type = fields.get("token_type")
    oddities = {
        "expires_in": lifetime is None,
        "token_type": not isinstance(token_type, str) or token_type.casefold() != "bearer",
        "refresh_token": refresh_token is None and fields.get("refresh_token") not in (None, ""),
    }
    return TokenGrant(
        access_token=access_token,
        refresh_token=refresh_token,
        expires_in=expires_in,
        expires_at=later(response.sent_at, expires_in),
        odd_fields=tuple(name for name, is_odd in oddities.items() if is_odd),
    )


def write_bearer_request(url: str, access_token: Secret) -> WireRequest:
    """Write a request with the access token in a header, never in the address. Source: RFC 6750 §2.1."""
    headers = {"Accept": "application/json", "Authorization": f"Bearer {access_token.reveal()}"}
    return WireRequest("GET", url, headers)


def read_profile(response: WireResponse, member: str) -> Profile | Unclear:
    """Read whose account it is; total. The e-mail address is never read.

    Args:
        response: any status and body.
        member: the field of the user ID.
    """
    fields = read_fields(response)
    if fields is None or is_from_another(response):
        return read_odd_answer(response)
    user_id = read_account(fields.get(member))
    if not _is_success(response) or user_id is None:
        return unclear(response, "the response names no account")
    return Profile(user_id, read_account(fields.get("name")))


def read_account(value: object) -> str | None:
    """Read a name or a user ID for people: at most 64 printable characters; None if nothing can be seen of it."""
    if not isinstance(value, str):
        return None
    marks = "".join(mark if mark.isprintable() and mark not in _BLANKS else " " for mark in value)
    return " ".join(marks.split())[:MOST_ACCOUNT].rstrip() or None


def pending(response: WireResponse) -> Callable[[str, str], Answer]:
    """Make the answer to ``authorization_pending``."""
    return lambda _error, _description: Pending(retry_after(response))


def slow_down(response: WireResponse) -> Callable[[str, str], Answer]:
    """Make the answer to ``slow_down``."""
    return lambda _error, _description: SlowDown(retry_after(response))


def refuse(trouble: Trouble, message: str, hint: str) -> Callable[[str, str], Answer]:
    """Make a refusal of whatever error name and description come."""

    def make(error: str, description: str) -> Refusal:
        said = f"{SAYS}{description})" if description else ""
        return Refusal(trouble=trouble, error=error, message=message + said, hint=hint)

    return make


def conceal(answer: Answer, *secrets: Secret | None) -> Answer:
    """Leave out what the provider says if it repeats a secret that was sent, or a piece of one.

    Of its words only the long ones are left out when they are read (``clean``); a short code or secret is not.
    """
    if not isinstance(answer, Refusal):
        return answer
    message, _, said = answer.message.partition(SAYS)
    is_told = any(piece in said for secret in secrets if secret for piece in _pieces(secret.reveal()))
    return replace(answer, message=message) if is_told else answer


def _pieces(text: str) -> Iterator[str]:
    """Return every piece of a secret that tells too much of it, also as it stands in an address or a form."""
    for form in {text, quote(text, safe=""), quote_plus(text)}:
        for start in range(max(1, len(form) - TELLING_PIECE + 1)):
            yield form[start : start + TELLING_PIECE]


def read_token(value: object) -> Secret | None:
    """Read a token or a device code: printable ASCII, not empty. Source: RFC 6749 appendix A (VSCHAR)."""
    if isinstance(value, str) and value and value.isascii() and value.isprintable():
        return Secret(value)
    return None


def read_seconds(value: object) -> Seconds | None:
    """Read a lifetime: a positive number of seconds, at most ten years; large providers also send it as a text."""
    if isinstance(value, str) and re.fullmatch(_NUMBER, value):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= MOST_SECONDS:
        return Seconds(int(value))
    return None


def read_interval(fields: Fields) -> Seconds | None:
    """Read the interval: 5 s if absent or zero; None if it is no such thing. Source: RFC 8628 §3.2."""
    value = fields.get("interval")
    if value is None or (value in (0, "0") and not isinstance(value, bool)):
        return DEFAULT_INTERVAL
    return read_seconds(value)


def read_code_pair(
    response: WireResponse, fields: Fields, prefill: Callable[[str, str], str | None]
) -> CodePair | None:
    """Read a code pair's fields; None if they are not of the documented form.

    Args:
        response: the answer; the lifetime counts from before its request left.
        fields: its JSON object.
        prefill: makes the link with the code filled in, of verification URI and user code, where the answer
            holds none; None if the dialect has no such thing.

    Source: RFC 8628 §3.2.
    """
    user_code = read_user_code(fields.get("user_code"))
    device_code = read_token(fields.get("device_code"))
    # Google says verification_url, as the drafts before RFC 8628 did.
    uri = read_page_uri(fields.get("verification_uri", fields.get("verification_url")))
    expires_in = read_seconds(fields.get("expires_in"))
    interval = read_interval(fields)
    if user_code is None or device_code is None or uri is None or expires_in is None or interval is None:
        return None
    prefilled_uri = read_page_uri(prefill(uri, user_code))
    if fields.get("verification_uri_complete") is not None:
        prefilled_uri = read_page_uri(fields["verification_uri_complete"])
        if prefilled_uri is None:
            return None
        if urlsplit(prefilled_uri).hostname != urlsplit(uri).hostname:
            prefilled_uri = None  # the complete URI must have the host of the verification URI
    return CodePair(
        user_code=user_code,
        device_code=device_code,
        verification_uri=uri,
        prefilled_uri=prefilled_uri,
        expires_in=expires_in,
        expires_at=later(response.sent_at, expires_in),
        interval=interval,
    )


def read_user_code(value: object) -> str | None:
    """Read a user code: 1 to 64 characters that can be seen, told apart and typed.

    Refused are controls, blanks that pass for letters, combining marks (one letter can carry many) and a mixture of
    writing directions (what is read is then not what is there).
    """
    if not isinstance(value, str) or not 0 < len(value) <= MOST_USER_CODE:
        return None
    if not value.isprintable() or not value.strip() or _BLANKS & set(value):
        return None
    return value if value.isascii() or _is_of_one_direction(value) else None


def _is_of_one_direction(text: str) -> bool:
    """Return whether a text has no combining marks and is written in one direction. Source: UAX #9, table 4."""
    import unicodedata

    directions = {unicodedata.bidirectional(mark) for mark in text}
    is_marked = any(unicodedata.category(mark).startswith("M") for mark in text)
    return not is_marked and not ("L" in directions and directions & {"R", "AL"})


def read_page_uri(value: object) -> str | None:
    """Read a URI that people will be sent to: https, or http on loopback; no user name; at most 512 characters."""
    is_fit = isinstance(value, str) and "'" not in value and not fault_of_address(value, is_for_people=True)
    return value if isinstance(value, str) and is_fit else None


def client_refusals(what: str) -> dict[str, Callable[[str, str], Answer]]:
    """Return the refusal for each error name that rejects the client or its request.

    Args:
        what: what was asked for, for the message.

    Source: RFC 6749 §5.2.
    """

    def misconfigured(why: str, hint: str) -> Callable[[str, str], Answer]:
        return refuse(Trouble.MISCONFIGURED, f"the provider refuses {what}: {why}", hint)

    client_id = "Check the setting client_id (--client-id)."
    return {
        "invalid_client": misconfigured("it does not accept the client ID", client_id),
        "unauthorized_client": misconfigured(
            "the client ID may not use this flow",
            f"{client_id} The flow must be enabled for it at the provider.",
        ),
        "invalid_scope": misconfigured(
            "the client ID may not have this scope", "Check the setting scope (--scope)."
        ),
        "unsupported_grant_type": misconfigured(
            "it does not know this kind of grant", "Check the setting dialect (--dialect)."
        ),
        "invalid_request": misconfigured(
            "something in the request is missing or malformed",
            "Check the settings client_id, scope, product_id and dsn.",
        ),
    }


def refresh_refusals(response: WireResponse) -> dict[str, Callable[[str, str], Answer]]:
    """Return the answer for each error name of a refused refresh. Source: RFC 6749 §5.2."""
    return {
        **client_refusals("to refresh the link"),
        "authorization_pending": pending(response),
        "slow_down": slow_down(response),
        "invalid_grant": refuse(
            Trouble.REVOKED,
            "the account no longer allows this speaker",
            "Link it again: press the button, or run: device-auth link",
        ),
    }


def poll_refusals(response: WireResponse) -> dict[str, Callable[[str, str], Answer]]:
    """Return the answer for each error name of a refused poll.

    Source: RFC 8628 §3.5; ``authorization_declined``: Microsoft identity platform, "OAuth 2.0 device authorization grant flow".
    """
    pair_over = refuse(
        Trouble.EXPIRED, "the code ran out or was used already", "Ask for a new code: device-auth link"
    )
    declined = refuse(
        Trouble.DENIED, "the owner declined", "If that was a mistake, ask for a new code: device-auth link"
    )
    return {
        **client_refusals("to give tokens"),
        "authorization_pending": pending(response),
        "slow_down": slow_down(response),
        "expired_token": pair_over,
        "invalid_grant": pair_over,
        "access_denied": declined,
        "authorization_declined": declined,
    }


def clean(value: object) -> str:
    """Make a provider's description fit to show: no control characters, nothing like a token, at most 200."""
    if not isinstance(value, str):
        return ""
    words = "".join(mark if mark.isprintable() else " " for mark in value).split()
    text = " ".join(word if len(word) <= LONGEST_WORD else "…" for word in words)
    return text[:MOST_DESCRIPTION].rstrip()


def read_fields(response: WireResponse) -> Fields | None:
    """Read the body as a JSON object in UTF-8; None if it is no such thing."""
    if not response.is_whole:
        return None
    try:
        value = json.loads(response.body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _may_be_understood(status: int, error: str) -> bool:
    """Return whether an error name counts at this status.

    A server in distress may say anything: at 5xx and 429 only the names that ask to wait are believed.
    """
    if error.casefold() in _ASKS_TO_WAIT:
        return True
    return status != 429 and (200 <= status < 300 or 400 <= status < 500)  # noqa: PLR2004  RFC 9110 §15


def _read_redirect(response: WireResponse) -> Unclear:
    try:
        asked = urlsplit(response.url).netloc
        host = urlsplit(response.headers.get("location", "")).netloc
    except ValueError:
        asked = host = ""
    if host and host.casefold() != asked.casefold():
        return _portal(response, "the answer sends to another host")
    return unclear(response, "the answer sends elsewhere")


def _is_success(response: WireResponse) -> bool:
    return 200 <= response.status < 300  # noqa: PLR2004  the class of HTTP statuses that mean success


def _is_html(response: WireResponse) -> bool:
    start = response.body[:512].lstrip().lower()
    return "html" in response.headers.get("content-type", "").lower() or start.startswith(
        (b"<!doctype html", b"<html")
    )


def _portal(response: WireResponse, what: str) -> Unclear:
    return Unclear(Trouble.CAPTIVE_PORTAL, f"{what} (status {response.status})", retry_after(response))


def unclear(response: WireResponse, what: str) -> Unclear:
    """Return an answer that is not understood, with the wait that it asks for."""
    return Unclear(Trouble.PROVIDER_UNAVAILABLE, f"{what} (status {response.status})", retry_after(response))


def _read_date(text: str) -> float | None:
    """Read an HTTP date; the old forms name no time zone and mean UTC. Source: RFC 9110 §5.6.7."""
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
