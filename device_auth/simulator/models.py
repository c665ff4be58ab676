"""The values of the simulated Amazon: who asks, what was given, what was refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from device_auth.core.models import DialectName, Flow


class PairState(StrEnum):
    """How far a code pair has come."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the simulated Amazon behaves when nothing is scripted.

    Args:
        interval: seconds between polls; LWA says 30.
        code_lifetime: seconds that a code pair lives; LWA says 600.
        token_lifetime: seconds that an access token lives; LWA says 3600.
        rotates: whether a refresh gives a new refresh token.
        approve_after: an owner who approves by himself, this many seconds after the code was given.
        client_ids: the client IDs that are known; None for every well-formed one.
        scopes: the scopes that may be asked for; None for those of LWA, and any in RFC 8628.
        client_secrets: the secrets of the clients that have one, by client ID. Such a client sends it at the
            exchange and at each refresh in the authorization-code flow; any other must use PKCE.
        redirect_uris: the addresses a browser may be sent back to (Allowed Return URLs); None for any https
            one, and http on loopback.
        authorization_code_lifetime: seconds that an authorization code lives; LWA does not say, RFC 6749
            §4.1.2 recommends ten minutes at the most.
        most_remembered: code pairs, and access tokens, kept at once; then the oldest make room.
        seed: the same seed and the same requests give the same codes and tokens.
    """

    interval: int = 30
    code_lifetime: int = 600
    token_lifetime: int = 3600
    rotates: bool = False
    approve_after: float | None = None
    client_ids: frozenset[str] | None = None
    scopes: frozenset[str] | None = None
    client_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    redirect_uris: frozenset[str] | None = None
    authorization_code_lifetime: int = 300
    most_remembered: int = 20_000
    seed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Who asks for a link, and for what."""

    dialect: DialectName
    client_id: str
    scopes: tuple[str, ...] = ()
    product_id: str = ""
    dsn: str = ""

    @property
    def name(self) -> str:
        """Name the applicant in complaints: its serial number where there is one."""
        return self.dsn or self.client_id


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedPair:
    """A code pair as the server sees it; ``heard_at`` is the last arrival, or the end of its answer."""

    applicant: Applicant
    user_code: str = field(repr=False)
    device_code: str = field(repr=False)
    issued_at: float
    expires_in: int
    interval: int
    state: PairState = PairState.WAITING
    polls: int = 0
    heard_at: float | None = None
    not_before: float = 0
    was_told_final: bool = False

    @property
    def expires_at(self) -> float:
        """The moment from which the code pair is worth nothing."""
        return self.issued_at + self.expires_in


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """What a browser brings from a client: who asks, and where the answer goes; its challenge if PKCE is used."""

    applicant: Applicant
    redirect_uri: str
    state: str | None = field(default=None, repr=False)
    challenge: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SentBack:
    """An answer that the browser carries to the client, in the address it is sent back to."""

    address: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCode:
    """An authorization code as the server sees it, without the code; ``grant_id`` once it has been used."""

    request: AuthorizationRequest
    issued_at: float
    expires_in: int
    grant_id: int | None = None
    was_told_final: bool = False

    @property
    def expires_at(self) -> float:
        """The moment from which the code is worth nothing."""
        return self.issued_at + self.expires_in


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a client says it is, and how it proves it."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeExchange:
    """What a client sends to get tokens for an authorization code."""

    code: str = field(repr=False)
    credentials: Credentials
    redirect_uri: str
    verifier: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What an owner has given to one applicant; only the device flow has a user code."""

    grant_id: int
    applicant: Applicant
    user_code: str = field(repr=False)
    flow: Flow = Flow.DEVICE_CODE
    is_revoked: bool = False
    refreshes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A grant's tokens on their way to the client; ``replaces`` is the fingerprint of the older one."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    scopes: tuple[str, ...]
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class OAuthRefusal:
    """An error answer, by its name on the wire."""

    error: str
    description: str


@dataclass(frozen=True, slots=True)
class KeptToken:
    """What is kept of a refresh token: never the token."""

    grant_id: int
    is_replaced: bool = False
