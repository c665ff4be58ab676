"""Links, code pairs and clocks for tests of the disk doors."""

from dataclasses import dataclass

from device_auth.core.models import (
    CodePair,
    DialectName,
    Flow,
    Link,
    Monotonic,
    PendingPair,
    Provider,
    Seconds,
    Secret,
    TokenGrant,
    UnixTime,
)


@dataclass
class StillClock:
    """A clock that stands until it is set."""

    monotonic: float = 1000.0
    unix: float = 1.8e9

    def now(self) -> Monotonic:
        return Monotonic(self.monotonic)

    def wall(self) -> UnixTime:
        return UnixTime(self.unix)


def make_link(owner: str = "anna", generation: int = 1, *, replaces: Link | None = None) -> Link:
    """Make a link; another generation of the same owner's has another refresh token."""
    return Link(
        link_id=owner,
        dialect=DialectName.LWA,
        flow=Flow.DEVICE_CODE,
        client_id="amzn1.application-oa2-client.0123456789abcdef0123456789abcdef",
        scope="alexa:all",
        token_endpoint="https://api.amazon.com/auth/O2/token",
        revocation_endpoint="",
        refresh_token=Secret(f"Atzr|canary-{owner}-{generation}"),
        linked_at=UnixTime(1.8e9),
        replaces=replaces,
    )


def make_pending() -> PendingPair:
    """Make a code pair that lives until 1600 on the clock since the start."""
    return PendingPair(
        pair=CodePair(
            user_code="AAYJHL",
            device_code=Secret("canary-device-code"),
            verification_uri="https://amazon.com/us/code",
            prefilled_uri="https://amazon.com/us/code?cbl-code=AAYJHL",
            expires_in=Seconds(600),
            expires_at=Monotonic(1600),
            interval=Seconds(30),
        ),
        interval=Seconds(60),
        provider=Provider(
            dialect=DialectName.LWA,
            client_id="amzn1.application-oa2-client.0123456789abcdef0123456789abcdef",
            scope="alexa:all",
            device_endpoint="https://api.amazon.com/auth/O2/create/codepair",
            token_endpoint="https://api.amazon.com/auth/O2/token",
            product_id="speaker",
            dsn="G0001",
        ),
    )


def make_grant(token: str = "Atza|canary-access") -> TokenGrant:
    """Make a grant whose access token ends at 4600 on the clock since the start."""
    return TokenGrant(
        access_token=Secret(token), refresh_token=None, expires_in=Seconds(3600), expires_at=Monotonic(4600)
    )
