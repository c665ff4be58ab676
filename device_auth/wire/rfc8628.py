"""The plain dialect: OAuth 2.0 Device Authorization Grant, for providers other than LWA.

Source: RFC 8628; RFC 6749 §5, §6; RFC 8414 and OpenID Connect Discovery 1.0 for metadata; RFC 7009.
"""

from binascii import b2a_base64
from typing import Final
from urllib.parse import quote_plus, urlencode, urlsplit, urlunsplit

from device_auth.core.models import (
    Answer,
    CodePair,
    Link,
    PollRules,
    Profile,
    Provider,
    Refusal,
    Seconds,
    Secret,
    TokenGrant,
    Unclear,
    WireRequest,
    WireResponse,
)
from device_auth.core.states import Trouble
from device_auth.core.values import replace
from device_auth.wire.answers import (
    SAYS,
    Fields,
    client_refusals,
    is_from_another,
    poll_refusals,
    read_answer,
    read_code_pair,
    read_fields,
    read_grant,
    read_odd_answer,
    read_page_uri,
    read_profile,
    refresh_refusals,
    slow_down,
    unclear,
    write_bearer_request,
    write_form,
)

RULES: Final = PollRules(first_at_once=False, slow_down_doubles=False)
"""The first poll waits one interval; ``slow_down`` adds 5 s. Source: RFC 8628 §3.3, §3.5."""

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:device_code"

_REASON: Final = ": "

_WHERE_IT_IS: Final = "the setting client_secret (DEVICE_AUTH_CLIENT_SECRET, or --client-secret-file): the provider expects the client's secret"

DEFAULT_LIFETIME: Final = Seconds(3600)
"""Stands in for an absent ``expires_in``, which RFC 6749 §5.1 only recommends."""


def write_metadata_requests(issuer: str) -> tuple[WireRequest, WireRequest]:
    """Write the two requests for metadata, in the order to try them.

    Source: RFC 8414 §3.1 (the well-known part stands before the issuer's path); OpenID Connect Discovery
    1.0 §4 (behind it).
    """
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    places = (f"/.well-known/oauth-authorization-server{path}", f"{path}/.well-known/openid-configuration")
    first, second = (
        WireRequest("GET", urlunsplit(parts._replace(path=place)), {"Accept": "application/json"})
        for place in places
    )
    return first, second


def read_metadata(response: WireResponse, provider: Provider) -> Provider | Refusal | Unclear:
    """Read a metadata document; total.

    Returns:
        The provider with its endpoints; a refusal where the document is another issuer's or has no device
        flow; else ``Unclear``.

    Source: RFC 8414 §3.2, §3.3; RFC 8628 §4.
    """
    fields = read_fields(response)
    if fields is None or is_from_another(response):
        return read_odd_answer(response)
    issuer = fields.get("issuer")
    if response.status != 200 or not isinstance(issuer, str):  # noqa: PLR2004  HTTP OK
        return unclear(response, "the answer is no metadata document")
    if issuer.rstrip("/") != provider.issuer.rstrip("/"):
        return _wrong_issuer("the metadata found there is another issuer's")
    device_endpoint = read_page_uri(fields.get("device_authorization_endpoint"))
    token_endpoint = read_page_uri(fields.get("token_endpoint"))
    if device_endpoint is None or token_endpoint is None:
        return _wrong_issuer("its metadata names no device flow")
    is_secure = urlsplit(provider.issuer).scheme == "https"
    if is_secure and not all(place.startswith("https:") for place in (device_endpoint, token_endpoint)):
        return _wrong_issuer("its metadata, which came by https, names an endpoint of plain http")
    userinfo_endpoint = read_page_uri(fields.get("userinfo_endpoint")) or ""
    return replace(
        provider,
        userinfo_endpoint=""
        if is_secure and not userinfo_endpoint.startswith("https:")
        else userinfo_endpoint,
        secret_by_basic=_takes_basic_alone(fields.get("token_endpoint_auth_methods_supported")),
        device_endpoint=device_endpoint,
        token_endpoint=token_endpoint,
        revocation_endpoint=read_page_uri(fields.get("revocation_endpoint")) or "",
    )


def write_code_pair_request(provider: Provider) -> WireRequest:
    """Write the request for a code pair. Source: RFC 8628 §3.1."""
    return write_form(provider.device_endpoint, {"client_id": provider.client_id, "scope": provider.scope})


def read_code_pair_answer(response: WireResponse) -> Answer:
    """Read the answer to the request for a code pair; total, see ``read_answer``."""
    refusals = client_refusals("to issue a code")
    refusals["slow_down"] = slow_down(response)
    return read_answer(
        response,
        lambda answer, fields: read_code_pair(answer, fields, lambda _uri, _code: None),
        refusals,
    )


def write_poll(provider: Provider, pair: CodePair) -> WireRequest:
    """Write a poll. Source: RFC 8628 §3.4."""
    return write_form(
        provider.token_endpoint,
        {
            "grant_type": GRANT_TYPE,
            "device_code": pair.device_code.reveal(),
            "client_id": provider.client_id,
        },
    )


def read_poll_answer(response: WireResponse) -> Answer:
    """Read the answer to a poll; total, see ``read_answer``.

    A grant without a refresh token cannot keep a speaker linked: a final refusal that names the scope.
    """
    return read_answer(response, _read_lasting_grant, poll_refusals(response))


def write_refresh(link: Link, client_secret: Secret | None = None) -> WireRequest:
    """Write a refresh, to the endpoint of the link's own envelope. Source: RFC 6749 §6."""
    return write_form(
        link.token_endpoint,
        {
            "grant_type": "refresh_token",
            "refresh_token": link.refresh_token.reveal(),
            "client_id": link.client_id,
            "client_secret": client_secret.reveal() if client_secret else "",
        },
    )


def read_refresh_answer(response: WireResponse, *, is_proof: bool) -> Answer:
    """Read the answer to a refresh; total, see ``read_answer``. A proof is read like any other here."""
    del is_proof
    return read_answer(response, _read_any_grant, refresh_refusals(response))


def write_userinfo_request(provider: Provider, access_token: Secret) -> WireRequest:
    """Write the question whose account it is. Source: OpenID Connect Core 1.0 §5.3.1."""
    return write_bearer_request(provider.userinfo_endpoint, access_token)


def read_userinfo(response: WireResponse) -> Profile | Unclear:
    """Read its answer; total. Source: OpenID Connect Core 1.0 §5.3.2."""
    return read_profile(response, "sub")


def add_secret(request: WireRequest, client_id: str, secret: Secret, *, by_basic: bool) -> WireRequest:
    """Return a request of a confidential client, with its secret in the form or in the header.

    Source: RFC 6749 §2.3.1; RFC 8628 §3.1, §3.4.
    """
    if not by_basic:
        form = urlencode({"client_secret": secret.reveal()})
        return replace(request, body=request.body + f"&{form}".encode("ascii"))
    pair = f"{quote_plus(client_id)}:{quote_plus(secret.reveal())}"
    header = f"Basic {b2a_base64(pair.encode('ascii'), newline=False).decode('ascii')}"
    return replace(request, headers={**request.headers, "Authorization": header})


def explain_client(answer: Answer, *, has_secret: bool, is_needed: bool = False) -> Answer:
    """Name the client secret where that is what a provider does not accept, or misses.

    Google answers a device request without it ``invalid_request``, Microsoft ``invalid_client``; both name it.
    """
    if not isinstance(answer, Refusal) or answer.error.casefold() not in {
        "invalid_client",
        "invalid_request",
    }:
        return answer
    what, _, said = answer.message.partition(_REASON)
    is_invalid = answer.error.casefold() == "invalid_client"
    is_missed = "client_secret" in said or "client secret" in said
    if not is_missed and not (is_invalid and (has_secret or is_needed)):
        return answer
    why = "it does not accept the client secret" if has_secret else "it wants a client secret"
    said = said.partition(SAYS)[2]
    return replace(
        answer, message=f"{what}{_REASON}{why}{SAYS if said else ''}{said}", hint=f"Check {_WHERE_IT_IS}."
    )


def write_revocation(link: Link) -> WireRequest:
    """Write the request that tells the provider to forget a link. Source: RFC 7009 §2.1."""
    return write_form(
        link.revocation_endpoint,
        {
            "token": link.refresh_token.reveal(),
            "token_type_hint": "refresh_token",
            "client_id": link.client_id,
        },
    )


def _read_any_grant(response: WireResponse, fields: Fields) -> TokenGrant | None:
    return read_grant(response, fields, refresh_token_wanted=False, default_lifetime=DEFAULT_LIFETIME)


def _read_lasting_grant(response: WireResponse, fields: Fields) -> Answer | None:
    grant = _read_any_grant(response, fields)
    if grant is not None and "refresh_token" in grant.odd_fields:
        return None
    if grant is not None and grant.refresh_token is None:
        return Refusal(
            Trouble.MISCONFIGURED,
            "",
            "the provider gave no refresh token, so the link would not last",
            "Ask for one by the setting scope (--scope), often: offline_access",
        )
    return grant


def _takes_basic_alone(methods: object) -> bool:
    """Return whether a token endpoint takes a client secret in the header, and not in the form. Source: RFC 8414 §2."""
    named = methods if isinstance(methods, list) else []
    return "client_secret_basic" in named and "client_secret_post" not in named


def _wrong_issuer(why: str) -> Refusal:
    return Refusal(
        Trouble.MISCONFIGURED,
        "",
        f"the issuer cannot be used: {why}",
        "Check the setting issuer (--issuer), or give --device-endpoint and --token-endpoint.",
    )
