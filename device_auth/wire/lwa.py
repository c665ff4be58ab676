"""Login with Amazon's dialect: code-based linking as the AVS documents and Amazon's own code have it.

It grew from a draft of RFC 8628 and differs from it in the endpoint, the grant's name, what a poll sends,
what a refusal is called and how to slow down; all of that lives here and nowhere else. What LWA answers when
the owner declines is not documented: ``access_denied`` and ``expired_token``, the RFC's names, are
understood as well in case they come.

Source: LWA "Retrieve a User Code and Verification URL", "Retrieve an Access Token and Refresh Token",
"Refresh Tokens"; AVS Device SDK, ``CBLAuthDelegate.cpp`` and ``LWAAuthorizationAdapter.cpp``.
"""

from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from device_auth.core.models import (
    Answer,
    CodePair,
    Link,
    PollRules,
    Profile,
    Provider,
    Seconds,
    Secret,
    Unclear,
    WireRequest,
    WireResponse,
)
from device_auth.core.states import Trouble
from device_auth.wire.answers import (
    ASSUMED_LIFETIME,
    client_refusals,
    poll_refusals,
    read_answer,
    read_code_pair,
    read_grant,
    read_profile,
    refresh_refusals,
    refuse,
    slow_down,
    write_bearer_request,
    write_form,
    write_scope_data,
)

POLL_EVERY: Final = Seconds(5)
"""Between polls, though 30 s are told: so do all of Amazon's own clients (AVS Device SDK, Java sample), and LWA answers."""

RULES: Final = PollRules(
    first_at_once=True, slow_down_doubles=True, at_most=POLL_EVERY, hurries_after=POLL_EVERY
)
"""Polling starts at once (LWA's page says so); ``slow_down`` doubles the interval (AVS Device SDK)."""


def write_code_pair_request(provider: Provider) -> WireRequest:
    """Write the request for a code pair.

    ``Accept-Language`` selects the country of the verification page. Amazon's own code sends no client
    secret here.
    """
    return write_form(
        provider.device_endpoint,
        {
            "response_type": "device_code",
            "client_id": provider.client_id,
            "scope": provider.scope,
            "scope_data": write_scope_data(provider),
        },
        **{"Accept-Language": provider.locale},
    )


def read_code_pair_answer(response: WireResponse) -> Answer:
    """Read the answer to the request for a code pair; total, see ``read_answer``."""
    refusals = client_refusals("to issue a code")
    refusals["invalidvalue"] = refusals["invalid_client"]
    refusals["slow_down"] = slow_down(response)
    return read_answer(response, lambda answer, fields: read_code_pair(answer, fields, _prefill), refusals)


def write_poll(provider: Provider, pair: CodePair) -> WireRequest:
    """Write a poll: LWA wants both halves of the pair, and no client ID."""
    return write_form(
        provider.token_endpoint,
        {
            "grant_type": "device_code",
            "device_code": pair.device_code.reveal(),
            "user_code": pair.user_code,
        },
    )


def read_poll_answer(response: WireResponse) -> Answer:
    """Read the answer to a poll; total, see ``read_answer``. A grant must bring a refresh token."""
    refusals = poll_refusals(response)
    refusals["invalidvalue"] = refusals["invalid_client"]
    refusals["invalid_code_pair"] = refusals["expired_token"]
    return read_answer(
        response,
        lambda answer, fields: read_grant(
            answer, fields, refresh_token_wanted=True, default_lifetime=ASSUMED_LIFETIME
        ),
        refusals,
    )


def write_refresh(link: Link, client_secret: Secret | None = None) -> WireRequest:
    """Write a refresh, to the endpoint of the link's own envelope.

    A client ID made for "other devices and platforms" has no secret; the authorization-code flow's may.
    """
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
    """Read the answer to a refresh; total, see ``read_answer``.

    Args:
        response: any status and body.
        is_proof: this link has never been refreshed: then ``invalid_request`` has one known cause, a client
            ID of the wrong kind (AVS Device SDK: ``INVALID_CBL_CLIENT_ID``).
    """
    refusals = refresh_refusals(response)
    refusals["invalidvalue"] = refusals["invalid_client"]
    if is_proof:
        refusals["invalid_request"] = refuse(
            Trouble.MISCONFIGURED,
            "the client ID is of the wrong kind: it can be linked with but not refreshed",
            "Set client_id (--client-id) to the one made in the security profile under "
            "'Other devices and platforms', not the profile's own.",
        )
    return read_answer(
        response,
        lambda answer, fields: read_grant(
            answer, fields, refresh_token_wanted=False, default_lifetime=ASSUMED_LIFETIME
        ),
        refusals,
    )


def write_profile_request(link: Link, access_token: Secret) -> WireRequest:
    """Write the question whose account it is, to the origin of the link's token endpoint.

    Source: LWA "Obtain Customer Profile Information".
    """
    parts = urlsplit(link.token_endpoint)
    place = urlunsplit((parts.scheme, parts.netloc, "/user/profile", "", ""))
    return write_bearer_request(place, access_token)


def read_profile_answer(response: WireResponse) -> Profile | Unclear:
    """Read its answer; total."""
    return read_profile(response, "user_id")


def _prefill(uri: str, user_code: str) -> str:
    """Fill the code in: ``?cbl-code=``. Source: Alexa Auto SDK, ``samples/cpp/src/Views.cpp``."""
    parts = urlsplit(uri)
    filled = f"cbl-code={quote(user_code, safe='')}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{filled}" if parts.query else filled))
