"""Responses of the simulated Amazon as they go on the wire, true and scripted."""

import json
from collections.abc import Mapping
from typing import Final

from flask import Response

from device_auth.core.models import DialectName
from device_auth.simulator.faults import OVERSIZE, Endpoint, Fault, Shape
from device_auth.simulator.models import SLOW_DOWN, IssuedPair, OAuthRefusal, Tokens

OK: Final = 200

_FINAL_ERRORS: Final = frozenset(
    {
        "access_denied",
        "authorization_declined",
        "expired_token",
        "invalid_client",
        "invalid_code_pair",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalidvalue",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
"""Error names, in lower case, after which a code pair is never polled again."""

NEVER_FROM_LWA: Final = frozenset({"access_denied", "expired_token", "authorization_declined"})
"""Final errors of RFC 8628 that no source has of LWA."""

_PORTAL: Final = (
    "<!DOCTYPE html><html><head><title>Welcome</title></head>"
    "<body><form action='/accept'><button>Accept the terms of this network</button></form></body></html>"
)

_TOO_MANY_REQUESTS: Final = 429
_CLIENT_ERRORS: Final = range(400, 500)
_NO_CHANGE: Final[Mapping[str, object]] = {}

_TOKENS_SAMPLE: Final[dict[str, object]] = {
    "access_token": "Sim|A|never-given-out",
    "refresh_token": "Sim|R|never-given-out",
    "token_type": "bearer",
    "expires_in": 3600,
}

_SAMPLES: Final[Mapping[Endpoint, dict[str, object]]] = {
    Endpoint.CODE_PAIR: {
        "user_code": "NEVERS",
        "device_code": "never-given-out",
        "interval": 30,
        "verification_uri": "https://example.com/us/code",
        "expires_in": 600,
    },
    Endpoint.TOKEN_POLL: _TOKENS_SAMPLE,
    Endpoint.EXCHANGE: _TOKENS_SAMPLE,
    Endpoint.REFRESH: _TOKENS_SAMPLE,
    Endpoint.METADATA: {"issuer": "https://example.com", "token_endpoint": "https://example.com/token"},
    Endpoint.REVOKE: {},
}
"""Bodies that look like success, for responses that must not be believed: too long, or truncated."""


def pair_answer(pair: IssuedPair, verification_uri: str) -> dict[str, object]:
    """Return the members of a code pair, in the order of captured responses of LWA.

    Source: LWA "Retrieve a User Code and Verification URL"; RFC 8628 §3.2.
    """
    return {
        "user_code": pair.user_code,
        "device_code": pair.device_code,
        "interval": pair.interval,
        "verification_uri": verification_uri,
        "expires_in": pair.expires_in,
    }


def tokens_answer(dialect: DialectName, result: Tokens | OAuthRefusal, fault: Fault) -> Response:
    """Return tokens or an error. Source: RFC 6749 §5.1, §5.2; only RFC 8628 has the scope."""
    if isinstance(result, OAuthRefusal):
        return error_answer(result)
    members: dict[str, object] = {
        "access_token": result.access_token,
        "refresh_token": result.refresh_token,
        "token_type": "bearer",
        "expires_in": result.expires_in,
    }
    if dialect is DialectName.RFC8628 and result.scopes:
        members |= {"scope": " ".join(result.scopes)}
    return json_answer(OK, members, fault.change)


def is_final(response: Response, *, is_scripted: bool) -> bool:
    """Return whether a client that understands this response must not poll again.

    A scripted success does not count: the script tests whether a client understands it.
    """
    if "Retry-After" in response.headers or response.status_code == _TOO_MANY_REQUESTS:
        return False
    if response.status_code == OK:
        return not is_scripted
    return response.status_code in _CLIENT_ERRORS and error_name(response) in _FINAL_ERRORS


def error_name(response: Response) -> str:
    """Return the name of an error response in lower case; empty if it has none."""
    try:
        members = json.loads(response.get_data())
    except (ValueError, RecursionError):
        return ""
    error = members.get("error") if isinstance(members, dict) else None
    return error.lower() if isinstance(error, str) else ""


def error_answer(refused: OAuthRefusal, *, status: int = 400) -> Response:
    """Return an error by its name; LWA and RFC 6749 §5.2 both use status 400. Its name comes last in LWA's."""
    return json_answer(status, {"error_description": refused.description, "error": refused.error})


def json_answer(
    status: int, value: Mapping[str, object], change: Mapping[str, object] = _NO_CHANGE
) -> Response:
    """Make a JSON response that is not cached; a scripted null leaves a member out. Source: RFC 6749 §5.1."""
    members = {name: each for name, each in {**value, **change}.items() if each is not None}
    response = Response(
        json.dumps(members, separators=(",", ":")), status, content_type="application/json;charset=UTF-8"
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["Pragma"] = "no-cache"
    return response


def reshaped(response: Response, shape: Shape, endpoint: Endpoint) -> Response:
    """Return a true response in the form of another provider."""
    members = json.loads(response.get_data())
    dropped = shape.dropped.get(endpoint, frozenset())
    members = {
        shape.renamed.get(name, name): str(value) if name in shape.texts else shape.changed.get(name, value)
        for name, value in members.items()
        if name not in dropped
    }
    if response.status_code == OK:
        members |= shape.added.get(endpoint, {})
    else:
        error = shape.errors.get(members["error"], members["error"])
        described = shape.descriptions.get(error, members["error_description"])
        members |= {"error": error, "error_description": described}
        response.status_code = shape.statuses.get(error, response.status_code)
    response.set_data(json.dumps(members, separators=(",", ":")))
    return response


def scripted(endpoint: Endpoint, fault: Fault, *, trap: str) -> Response:
    """Make the response of a fault; a redirect without an address leads to the trap."""
    content = fault.content()
    if content is not None:
        kind = "application/json" if fault.json is not None or fault.body is None else "text/plain"
        return Response(content, fault.status or OK, content_type=kind)
    if fault.slow_down:
        return error_answer(SLOW_DOWN, status=fault.status or 400)
    if fault.redirect:
        target = fault.redirect if isinstance(fault.redirect, str) else trap
        return Response(b"", fault.status or 302, headers={"Location": target})
    if fault.html:
        return Response(_PORTAL, fault.status or OK, content_type="text/html; charset=utf-8")
    if fault.truncate or fault.oversized:
        sample = _SAMPLES[endpoint] | ({"padding": "x" * OVERSIZE} if fault.oversized else {})
        return json_answer(fault.status or OK, sample)
    return Response(b"", fault.status or OK, content_type="text/plain")
