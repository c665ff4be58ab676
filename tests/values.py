"""Values for tests: pairs, grants, links and answers with everything filled in, secrets as canaries."""

import json
from typing import Final

from device_auth.core.models import (
    Answer,
    CodePair,
    DialectName,
    Flow,
    Link,
    Monotonic,
    Pending,
    Provider,
    Refusal,
    Seconds,
    Secret,
    SlowDown,
    TokenGrant,
    Unclear,
    UnixTime,
    Unreachable,
    WireResponse,
)
from device_auth.core.policy import AnswerKind
from device_auth.core.states import Trouble

CANARY: Final = "CANARY"
"""Stands in every secret and every user code; must never be seen in anything printed."""


def moment(value: float) -> Monotonic:
    return Monotonic(float(value))


def seconds(value: float) -> Seconds:
    return Seconds(float(value))


def make_pair(
    *, name: str = "1", sent_at: float = 0, expires_in: float = 600, interval: float = 30
) -> CodePair:
    return CodePair(
        user_code=f"{CANARY}-user-{name}",
        device_code=Secret(f"{CANARY}-device-{name}"),
        verification_uri="https://amazon.com/us/code",
        prefilled_uri=f"https://amazon.com/us/code?cbl-code={CANARY}-user-{name}",
        expires_in=seconds(expires_in),
        expires_at=moment(sent_at + expires_in),
        interval=seconds(interval),
    )


def make_grant(
    *,
    access_token: str = "access",
    refresh_token: str | None = "refresh",
    issued_at: float = 0,
    expires_in: float = 3600,
) -> TokenGrant:
    return TokenGrant(
        access_token=Secret(f"{CANARY}-{access_token}"),
        refresh_token=None if refresh_token is None else Secret(f"{CANARY}-{refresh_token}"),
        expires_in=seconds(expires_in),
        expires_at=moment(issued_at + expires_in),
    )


def make_held_link(*, refresh_token: str = "refresh", is_proved: bool = False) -> Link:
    return Link(
        link_id="link-1",
        dialect=DialectName.LWA,
        flow=Flow.DEVICE_CODE,
        client_id="client",
        scope="alexa:all",
        token_endpoint="https://api.amazon.com/auth/O2/token",
        revocation_endpoint="",
        refresh_token=Secret(f"{CANARY}-{refresh_token}"),
        linked_at=UnixTime(1_700_000_000.0),
        is_proved=is_proved,
    )


def make_provider(dialect: DialectName = DialectName.LWA) -> Provider:
    if dialect is DialectName.LWA:
        return Provider(
            dialect,
            client_id="amzn1.application-oa2-client.0",
            scope="alexa:all",
            device_endpoint="https://api.amazon.com/auth/O2/create/codepair",
            token_endpoint="https://api.amazon.com/auth/O2/token",
            product_id="speaker",
            dsn="G0A1",
            locale="de-DE",
        )
    return Provider(
        dialect,
        client_id="speaker",
        scope="openid offline_access",
        device_endpoint="https://id.example/device",
        token_endpoint="https://id.example/token",
        revocation_endpoint="https://id.example/revoke",
        issuer="https://id.example/tenant",
    )


def make_refusal(trouble: Trouble, error: str = "") -> Refusal:
    return Refusal(trouble, error, f"the provider says {trouble}", f"do something about {trouble}")


def make_unclear(
    retry_after: float | None = None, trouble: Trouble = Trouble.PROVIDER_UNAVAILABLE
) -> Unclear:
    return Unclear(trouble, "odd", None if retry_after is None else seconds(retry_after))


NO_ANSWER: Final = Unreachable(Trouble.NO_NETWORK, "refused")
CANNOT_BE_SENT: Final = Unreachable(Trouble.MISCONFIGURED, "the proxy is none", hint="Correct it.")
TIMED_OUT: Final = Unreachable(Trouble.PROVIDER_UNAVAILABLE, "timed out", timed_out=True)
DENIED: Final = make_refusal(Trouble.DENIED, "access_denied")
PAIR_OVER: Final = make_refusal(Trouble.EXPIRED, "invalid_code_pair")
MISCONFIGURED: Final = make_refusal(Trouble.MISCONFIGURED, "invalid_client")
REVOKED: Final = make_refusal(Trouble.REVOKED, "invalid_grant")

EXAMPLES: Final[dict[AnswerKind, Answer]] = {
    AnswerKind.PENDING: Pending(),
    AnswerKind.SLOW_DOWN: SlowDown(),
    AnswerKind.PAIR_OVER: PAIR_OVER,
    AnswerKind.DENIED: DENIED,
    AnswerKind.MISCONFIGURED: MISCONFIGURED,
    AnswerKind.REVOKED: REVOKED,
    AnswerKind.TOLD_TO_WAIT: make_unclear(1234),
    AnswerKind.UNCLEAR: make_unclear(),
    AnswerKind.UNREACHABLE: NO_ANSWER,
    AnswerKind.CLOCK_NOT_SET: Unreachable(Trouble.CLOCK_NOT_SET, "certificate not yet valid"),
    AnswerKind.CAPTIVE_PORTAL: make_unclear(trouble=Trouble.CAPTIVE_PORTAL),
    AnswerKind.CANNOT_BE_SENT: CANNOT_BE_SENT,
}
"""One answer of each kind but success, which differs with the question."""


def make_response(
    fields: object = None,
    *,
    status: int = 200,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    is_whole: bool = True,
    sent_at: float = 100,
    url: str = "https://api.amazon.com/auth/O2/token",
) -> WireResponse:
    return WireResponse(
        url=url,
        status=status,
        headers=headers or {},
        body=json.dumps(fields).encode() if body is None else body,
        is_whole=is_whole,
        sent_at=moment(sent_at),
        received_at=UnixTime(1_700_000_000.0),
    )
