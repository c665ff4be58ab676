"""The authorization-code flow: the browser's request, and the checks of an authorization code.

A browser is never sent to an address that the client has not registered, not even with an error.
Source: RFC 6749 §4.1; RFC 7636; LWA "Authorization Code Grant".
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlencode, urlsplit

from device_auth.core.models import DialectName
from device_auth.simulator.clients import (
    SCOPE_DATA_RULE,
    ClientRefusal,
    has_secret,
    read_applicant,
    refuse_client,
    refuse_scopes,
)
from device_auth.simulator.models import (
    Applicant,
    AuthorizationCode,
    AuthorizationRequest,
    CodeExchange,
    OAuthRefusal,
    Options,
    SentBack,
)
from device_auth.simulator.referee import RuleName
from device_auth.wire.addresses import is_loopback

REDIRECT_URI_RULE: Final = "Use https, or http on localhost, without user and fragment."
"""The hint that goes with a redirect URI that ``is_redirect_uri`` refuses."""

_LONGEST_ADDRESS: Final = 512
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
"""A SHA-256 in base64url without padding. Source: RFC 7636 §4.2."""

_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")
"""Source: RFC 7636 §4.1."""

_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def read_authorization(
    parameters: list[tuple[str, str]], dialect: DialectName, options: Options
) -> AuthorizationRequest | SentBack | OAuthRefusal:
    """Read a client's request that a browser carries.

    Args:
        parameters: of the address, in their order; an empty value counts as left out.
        dialect: of the page.
        options: the known clients and scopes.

    Returns:
        The request; or the address that the browser is sent back to with an error; or a refusal, if the address
        may not be the client's.

    Source: RFC 6749 §3.1, §4.1.1, §4.1.2.1; RFC 7636 §4.4.1.
    """
    names = [name for name, value in parameters if value]
    words = {name: value for name, value in parameters if value}
    repeated = {name for name in names if names.count(name) > 1}
    client_id, redirect_uri = words.get("client_id", ""), words.get("redirect_uri", "")
    if repeated & {"client_id", "redirect_uri"}:
        return OAuthRefusal("invalid_request", "client_id or redirect_uri was sent more than once.")
    if refuse_client(client_id, dialect, options) is not None:
        return OAuthRefusal("invalid_request", "Unknown client_id")
    client = options.clients.get(client_id)
    allowed = (
        options.redirect_uris if client is None or client.redirect_uris is None else client.redirect_uris
    )
    if not is_redirect_uri(redirect_uri, allowed):
        return OAuthRefusal(
            "invalid_request", "The redirect_uri is not one of this client's Allowed Return URLs."
        )
    result = (
        OAuthRefusal("invalid_request", "A parameter was sent more than once.")
        if repeated
        else _read_words(words, dialect, options)
    )
    if isinstance(result, OAuthRefusal):
        state = None if "state" in repeated else words.get("state")
        return SentBack(
            send_back(redirect_uri, state, error=result.error, error_description=result.description)
        )
    return result


def _read_words(
    words: Mapping[str, str], dialect: DialectName, options: Options
) -> AuthorizationRequest | OAuthRefusal:
    """Read a request whose client and redirect URI are valid; RFC 6749 §3.3 needs no scope."""
    is_lwa = dialect is DialectName.LWA
    client_id, scope = words["client_id"], words.get("scope", "")
    if "response_type" not in words or (is_lwa and not scope):
        return OAuthRefusal("invalid_request", "response_type and scope are needed.")
    if words["response_type"] != "code":
        return OAuthRefusal("unsupported_response_type", "response_type must be code.")
    applicant = (
        read_applicant(client_id, scope, words.get("scope_data"))
        if is_lwa
        else Applicant(dialect=dialect, client_id=client_id, scopes=tuple(scope.split()))
    )
    if applicant is None:
        return OAuthRefusal("invalid_request", SCOPE_DATA_RULE)
    is_public = (is_lwa or client_id in options.clients) and not has_secret(client_id, options)
    challenge = words.get("code_challenge")
    refused = refuse_scopes(applicant, options) or _refuse_challenge(
        challenge, words.get("code_challenge_method"), is_needed=is_public
    )
    if refused is not None:
        return refused
    return AuthorizationRequest(
        applicant=applicant,
        redirect_uri=words["redirect_uri"],
        state=words.get("state"),
        challenge=challenge,
    )


def _refuse_challenge(challenge: str | None, method: str | None, *, is_needed: bool) -> OAuthRefusal | None:
    """Return why a code challenge is refused, or None. AVS takes S256 alone. Source: AVS "Authorize Through a Companion App"."""
    if challenge is None:
        if is_needed or method is not None:
            return OAuthRefusal(
                "invalid_request", "A code_challenge is needed, for the client has no secret."
            )
        return None
    if method != "S256":
        return OAuthRefusal("invalid_request", "code_challenge_method must be S256.")
    if not _CHALLENGE.fullmatch(challenge):
        return OAuthRefusal("invalid_request", "The code_challenge is not a SHA-256 in base64url.")
    return None


def is_redirect_uri(address: str, allowed: frozenset[str] | None) -> bool:
    """Return whether a browser may be sent to an address: https, or http on loopback, and one of those allowed.

    Compared as text, character by character. Source: RFC 6749 §3.1.2, §3.1.2.3; RFC 9700 §2.1.
    """
    if allowed is not None and address not in allowed:
        return False
    is_text = address.isascii() and address.isprintable() and len(address) <= _LONGEST_ADDRESS
    if not is_text or any(each in address for each in " #\\"):
        return False
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if "@" in parts.netloc or not (_HOST.fullmatch(host) or _is_ipv6(host)):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def _is_ipv6(host: str) -> bool:
    try:
        return ip_address(host).version == 6 and "%" not in host  # noqa: PLR2004  # the version is its name
    except ValueError:
        return False


def send_back(redirect_uri: str, state: str | None, **words: str) -> str:
    """Return the address that carries the response to the client. Source: RFC 6749 §4.1.2, §4.1.2.1."""
    query = words if state is None else words | {"state": state}
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(query)}"


def challenge_of(verifier: str) -> str:
    """Return the code challenge of a code verifier: its SHA-256. Source: RFC 7636 §4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def refuse_exchange(code: AuthorizationCode, exchange: CodeExchange, now: float) -> ClientRefusal | None:
    """Return why an authorization code is refused; None if not. The caller checks whether it was used before.

    Source: RFC 6749 §4.1.3, §5.2; RFC 7636 §4.6.
    """
    request = code.request
    if now >= code.expires_at:
        return ClientRefusal(OAuthRefusal("invalid_grant", "The authorization code has expired."))
    if exchange.redirect_uri != request.redirect_uri:
        breach = (
            RuleName.OTHER_REDIRECT_URI,
            "The redirect_uri of the exchange is not identical to that of the authorization request.",
        )
        return ClientRefusal(
            OAuthRefusal("invalid_grant", "The redirect_uri is not that of the authorization request."),
            breach,
        )
    return _refuse_verifier(request.challenge, exchange.verifier)


def _refuse_verifier(challenge: str | None, verifier: str | None) -> ClientRefusal | None:
    if challenge is None:
        if verifier is None:
            return None
        # Otherwise a code without a challenge could be used as one with. Source: RFC 9700 §4.8.2
        breach = RuleName.EXTRA_PARAMETER, "The parameter code_verifier does not belong here."
        return ClientRefusal(
            OAuthRefusal("invalid_grant", "The authorization request had no code_challenge."), breach
        )
    if verifier is None:
        breach = RuleName.MISSING_PARAMETER, "The parameter code_verifier is missing."
        return ClientRefusal(OAuthRefusal("invalid_request", "The code_verifier is missing."), breach)
    is_its_own = hmac.compare_digest(challenge_of(verifier), challenge)
    if not (is_its_own and _VERIFIER.fullmatch(verifier)):
        breach = RuleName.WRONG_PARAMETER, "The code_verifier is wrong."
        return ClientRefusal(
            OAuthRefusal("invalid_grant", "The code_verifier does not belong to the code_challenge."), breach
        )
    return None
