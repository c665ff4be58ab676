"""The authorization-code flow of Login with Amazon: the address that the owner is sent to, what comes back, the exchange.

The owner's browser carries the code, so other programs can see it: ``state`` shows that the redirect answers our
request, and the client secret, or PKCE where the client has none, ensures that only this client can use the code.

Source: RFC 6749 §4.1; RFC 7636; LWA "Authorization Code Grant"; AVS "Authorize an AVS Device Through a Web Service".
"""

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from device_auth.core.models import Answer, Provider, Refusal, Secret, WireRequest, WireResponse
from device_auth.core.states import Trouble
from device_auth.core.values import dataclass, replace
from device_auth.wire.answers import (
    ASSUMED_LIFETIME,
    clean,
    read_answer,
    read_grant,
    read_token,
    refuse,
    write_form,
    write_scope_data,
)
from device_auth.wire.pasted import bare

LEAST_RANDOMNESS: Final = 32
"""Bytes that a verifier is made of. Source: RFC 7636 §4.1."""

MOST_CODE: Final = 1024
"""Characters of an authorization code. LWA's own have about twenty."""

LEAST_CODE: Final = 16
"""Characters of a code that is pasted alone: fewer could be guessed (RFC 6749 §10.10), and are a word."""

MOST_REDIRECT: Final = 4096
"""Characters of an address that comes back."""

MOST_PARAMETERS: Final = 32

START_AGAIN: Final = "Start again: device-auth authorize"


@dataclass(frozen=True, slots=True)
class Redirect:
    """The owner has approved, and this is what the browser brought.

    Attributes:
        is_checked: ``state`` came along, and is ours; else the code alone was given, and nobody knows.
    """

    code: Secret
    is_checked: bool = True


@dataclass(frozen=True, slots=True)
class UnexpectedRedirect:
    """A redirect that does not answer our request: it is reported, and the right one awaited.

    Attributes:
        why: for a person; no part of what came.
    """

    why: str


# ---------------------------------------------------------------------------------------------------------
# Unguessable values


def make_state(randomness: bytes) -> str:
    """Make what the browser shall bring along unchanged, which shows that it answers our question.

    Args:
        randomness: at least 32 unguessable bytes, not those of the verifier.

    Source: RFC 6749 §10.12.
    """
    assert len(randomness) >= LEAST_RANDOMNESS, "too little chance to rely on"  # noqa: S101  our own bug
    return _base64url(randomness)


def make_verifier(randomness: bytes) -> Secret:
    """Make a code verifier, which never leaves this machine but in the exchange.

    Args:
        randomness: at least 32 bytes that nobody can guess.

    Source: RFC 7636 §4.1.
    """
    assert len(randomness) >= LEAST_RANDOMNESS, "too little chance to rely on"  # noqa: S101  our own bug
    return Secret(_base64url(randomness))


def challenge_of(verifier: Secret) -> str:
    """Return the challenge, by which the verifier will be known; method ``S256``. Source: RFC 7636 §4.2."""
    return _base64url(sha256(verifier.reveal().encode("ascii")).digest())


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode("ascii").rstrip("=")


# ---------------------------------------------------------------------------------------------------------
# The way there


def write_address(
    provider: Provider, *, endpoint: str, redirect_uri: str, state: str, verifier: Secret | None
) -> str:
    """Write the address that the owner opens to approve; it holds no secret.

    Args:
        provider: whom to ask, and as whom.
        endpoint: the page; without a query.
        redirect_uri: where the browser shall come back to.
        state: what it shall bring along unchanged.
        verifier: makes the challenge; None where a client secret does its work.

    Source: RFC 6749 §4.1.1; RFC 7636 §4.3.
    """
    fields = {
        "client_id": provider.client_id,
        "scope": provider.scope,
        "scope_data": write_scope_data(provider),
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "state": state,
    }
    if verifier is not None:
        fields |= {"code_challenge": challenge_of(verifier), "code_challenge_method": "S256"}
    query = urlencode({name: value for name, value in fields.items() if value}, quote_via=quote, safe="")
    return f"{endpoint}?{query}"


# ---------------------------------------------------------------------------------------------------------
# The redirect


def read_redirect(query: str, state: str) -> Redirect | Refusal | UnexpectedRedirect:
    """Read the query of an address that the browser came back to; total.

    Args:
        query: what stands behind the question mark, still encoded.
        state: ours.

    Source: RFC 6749 §4.1.2, §4.1.2.1.
    """
    fields = _read_query(query)
    if fields is None:
        return UnexpectedRedirect("It is too long, or says something twice.")
    if "state" not in fields:
        return UnexpectedRedirect("It does not say which question it answers (state).")
    if Secret(fields["state"]) != Secret(state):  # which compare in constant time
        return UnexpectedRedirect("It answers another question (state), perhaps of an earlier attempt.")
    if "error" in fields:
        return _read_error(fields["error"], clean(fields.get("error_description")))
    code = _read_code(fields.get("code", ""))
    return UnexpectedRedirect("It brings no code.") if code is None else Redirect(code)


def read_pasted(text: str, state: str, redirect_uri: str) -> Redirect | Refusal | UnexpectedRedirect:
    """Read what a person pasted: the address that the browser came back to, its query or only the code; total.

    The address may be broken over lines, and other words may stand around it.

    Args:
        text: the paste.
        state: ours.
        redirect_uri: where the browser was to come back to.
    """
    words = [word for word in map(bare, text.split()) if word]
    if not words:
        return UnexpectedRedirect("Nothing was pasted.")
    joined = bare("".join(text.split()))
    code = _read_code(joined)
    if (
        len(words) == 1
        and len(joined) >= LEAST_CODE
        and not {"/", "?", "="} & set(joined)
        and code is not None
    ):
        return Redirect(code, is_checked=False)
    parts = [*filter(_holds_query, words), *([joined] if _holds_query(joined) else [])]
    found = [_read_copy(part, state, redirect_uri) for part in parts]
    answers = [it for it in found if not isinstance(it, UnexpectedRedirect)]
    if any(it != answers[0] for it in answers):
        return UnexpectedRedirect("There are blanks in it, and it can be read in two ways.")
    wanted = f"Copy the address that begins with {redirect_uri} and goes on with a question mark."
    return [*answers, *found, UnexpectedRedirect(f"It holds no answer. {wanted}")][0]


def _holds_query(text: str) -> bool:
    return "?" in text or text.startswith(("code=", "error=", "state=", "scope="))


def _read_copy(text: str, state: str, redirect_uri: str) -> Redirect | Refusal | UnexpectedRedirect:
    """Read one copied address, or one query."""
    has_address = "?" in text
    address, _, query = text.partition("?") if has_address else ("", "", text)
    answer = read_redirect(query.partition("#")[0], state)
    if not isinstance(answer, UnexpectedRedirect):
        return answer
    if has_address and address.casefold().rstrip("/") != redirect_uri.casefold().rstrip("/"):
        return UnexpectedRedirect(
            f"It is the address of another page: the right one begins with {redirect_uri}."
        )
    fields = _read_query(query) or {}
    code = _read_code(fields.get("code", ""))
    is_alone = not has_address and "state" not in fields
    return Redirect(code, is_checked=False) if is_alone and code is not None else answer


def _read_query(query: str) -> dict[str, str] | None:
    if len(query) > MOST_REDIRECT:
        return None
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        return None
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None


def _read_code(text: str) -> Secret | None:
    # RFC 6749 appendix A.11: printable ASCII; a blank in one would be a slip of the hand
    return read_token(text) if len(text) <= MOST_CODE and " " not in text else None


def _read_error(error: str, description: str) -> Refusal:
    """Put an error redirect into words. Source: RFC 6749 §4.1.2.1."""
    trouble, message, hint = _ERRORS.get(error.casefold(), _UNKNOWN_ERROR)
    said = f" (it says: {description})" if description else ""
    name = error if error.casefold() in _ERRORS else clean(error)
    return Refusal(trouble, name, message + said, hint)


_PROFILE: Final = "the security profile's Web Settings in the developer console"

_ERRORS: Final = {
    "access_denied": (
        Trouble.DENIED,
        "the owner declined",
        "If that was a mistake, start again: device-auth authorize",
    ),
    "invalid_request": (
        Trouble.MISCONFIGURED,
        "the provider does not take the question",
        f"Check the settings client_id, product_id, dsn and redirect_uri; {_PROFILE} must name that very redirect_uri.",
    ),
    "unauthorized_client": (
        Trouble.MISCONFIGURED,
        "the client ID may not use this flow",
        f"Check the setting client_id (--client-id): it must be the one of {_PROFILE}.",
    ),
    "invalid_scope": (
        Trouble.MISCONFIGURED,
        "the client ID may not have this scope",
        "Check the settings scope and product_id: the product must belong to the security profile.",
    ),
    "unsupported_response_type": (
        Trouble.MISCONFIGURED,
        "the provider does not know the authorization-code flow",
        "Check the setting authorization_endpoint (--authorization-endpoint).",
    ),
    "server_error": (Trouble.EXPIRED, "the provider has a fault of its own", START_AGAIN),
    "temporarily_unavailable": (Trouble.EXPIRED, "the provider is too busy now", START_AGAIN),
}
_UNKNOWN_ERROR: Final = (
    Trouble.MISCONFIGURED,
    "the provider refuses, for a reason of its own",
    "Check the settings client_id, scope, product_id and dsn.",
)


# ---------------------------------------------------------------------------------------------------------
# The exchange


def write_exchange(
    provider: Provider,
    code: Secret,
    *,
    redirect_uri: str,
    client_secret: Secret | None,
    verifier: Secret | None,
) -> WireRequest:
    """Write the request that makes a grant of the code.

    Args:
        provider: as in the address.
        code: as it came back.
        redirect_uri: the very same as in the address.
        client_secret: of the client; None if it has none.
        verifier: that the address's challenge was made of; None if there was none.

    Source: RFC 6749 §4.1.3; RFC 7636 §4.5.
    """
    return write_form(
        provider.token_endpoint,
        {
            "grant_type": "authorization_code",
            "code": code.reveal(),
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "client_secret": client_secret.reveal() if client_secret else "",
            "code_verifier": verifier.reveal() if verifier else "",
        },
    )


def read_exchange_answer(response: WireResponse) -> Answer:
    """Read the answer to the exchange; total, see ``read_answer``. A grant must bring a refresh token.

    LWA's answer to a wrong secret is not documented; every name that RFC 6749 has for it is understood.

    Source: RFC 6749 §5.1, §5.2.
    """
    refusals = {
        "invalid_grant": refuse(
            Trouble.EXPIRED,
            "the code was used already, is too old, or belongs to another client or redirect_uri",
            START_AGAIN,
        ),
        "access_denied": refuse(Trouble.DENIED, "the owner declined", START_AGAIN),
        **{
            name: refuse(Trouble.MISCONFIGURED, f"the provider refuses the exchange: {why}", hint)
            for name, (why, hint) in _CLIENT_FAULTS.items()
        },
    }
    return read_answer(
        response,
        lambda answer, fields: read_grant(
            answer, fields, refresh_token_wanted=True, default_lifetime=ASSUMED_LIFETIME
        ),
        refusals,
    )


def explain_refresh(answer: Answer) -> Answer:
    """Name, where a refresh is refused for the client's sake, what may be wrong with a client of this flow."""
    if isinstance(answer, Refusal) and answer.error.casefold() in _CLIENT_FAULTS:
        why, hint = _CLIENT_FAULTS[answer.error.casefold()]
        return replace(answer, message=f"the provider refuses to refresh the link: {why}", hint=hint)
    return answer


_CHECK_ALSO: Final = (
    "the setting client_secret (DEVICE_AUTH_CLIENT_SECRET, or --client-secret-file): client ID and secret must be of the"
    " same security profile"
)

_WRONG_CLIENT: Final = (
    "it does not accept the client ID with this secret, or without one",
    f"Check client_id (--client-id) and {_CHECK_ALSO}.",
)

_CLIENT_FAULTS: Final = {
    "invalid_client": _WRONG_CLIENT,
    "invalidvalue": _WRONG_CLIENT,
    "unauthorized_client": (
        "the client ID is of the wrong type for this flow",
        f"Check client_id (--client-id): it must be the one of {_PROFILE}, not of 'Other devices and platforms'.",
    ),
    "invalid_request": (
        "something in it is missing or malformed",
        f"Check redirect_uri (--redirect-uri), client_id, and {_CHECK_ALSO}.",
    ),
    "invalid_scope": (
        "the client ID may not have this scope",
        "Check the setting scope (--scope).",
    ),
    "unsupported_grant_type": (
        "it does not know this flow",
        "Check the setting base_url (--base-url).",
    ),
}
"""By error name: what is wrong, and the setting to look at."""
