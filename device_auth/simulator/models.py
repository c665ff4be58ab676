"""The values of the simulated Amazon: applicants, code pairs, grants, refusals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Final

from device_auth.core.models import DialectName, Flow
from device_auth.simulator.referee import RuleName


class Denial(StrEnum):
    """The answers of LWA's dialect to a poll after the owner has declined; no source says which is LWA's.

    ``SILENT`` is ``authorization_pending`` until the code expires.
    """

    ACCESS_DENIED = "access_denied"
    INVALID_CODE_PAIR = "invalid_code_pair"
    SILENT = "silent"


class PairState(StrEnum):
    """The state of a code pair."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredClient:
    """A client that is known, by its ID.

    Args:
        secret: None for a public client.
        dialects: those that it may use.
        redirect_uris: the addresses a browser may be sent back to; None for those of the options.
    """

    secret: str | None = field(default=None, repr=False)
    dialects: frozenset[DialectName] = frozenset(DialectName)
    redirect_uris: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The behaviour of the simulated Amazon without a script.

    Args:
        interval: seconds between polls; LWA says 30.
        code_lifetime: seconds that a code pair lives; LWA says 600.
        token_lifetime: seconds that an access token lives; LWA says 3600.
        rotates: whether a refresh gives a new refresh token.
        approve_after: seconds after which the simulated owner approves a code; None for never.
        clients: the known clients by their ID. One of LWA that has a secret sends it in the authorization-code flow,
            at the exchange and at each refresh; one without must use PKCE. In RFC 8628 it is sent with every request.
        takes_others: whether every other well-formed client ID is one too: in LWA without a secret, in RFC 8628
            with any or none.
        scopes: the scopes that a client may ask for; None for those of LWA, and any in RFC 8628.
        redirect_uris: the addresses a browser may be sent back to (Allowed Return URLs); None for any https
            one, and http on loopback.
        authorization_code_lifetime: seconds that an authorization code lives; LWA names none, RFC 6749 §4.1.2
            recommends ten minutes at the most.
        most_remembered: limit of code pairs, of authorization codes, of grants, of access tokens and of replaced
            refresh tokens, each; the oldest are forgotten, of grants first those that were revoked.
        denial: of LWA's dialect; RFC 8628 has ``access_denied``.
        is_strict: whether the referee's notes become complaints.
        allowed: the rules whose breaches stay notes all the same.
        seed: makes codes and tokens repeatable.
    """

    interval: int = 30
    code_lifetime: int = 600
    token_lifetime: int = 3600
    rotates: bool = False
    approve_after: float | None = None
    clients: Mapping[str, RegisteredClient] = field(default_factory=dict)
    takes_others: bool = True
    scopes: frozenset[str] | None = None
    redirect_uris: frozenset[str] | None = None
    authorization_code_lifetime: int = 300
    most_remembered: int = 20_000
    denial: Denial = Denial.ACCESS_DENIED
    is_strict: bool = False
    allowed: frozenset[RuleName] = frozenset()
    seed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """A client that asks for a link, and its scopes."""

    dialect: DialectName
    client_id: str
    scopes: tuple[str, ...] = ()
    product_id: str = ""
    dsn: str = ""

    @property
    def name(self) -> str:
        """Return the name for remarks: the serial number, else the client ID."""
        return self.dsn or self.client_id


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedPair:
    """A code pair at the server.

    Attributes:
        interval: the one that the client was told, in seconds.
        slowed_to: the least interval since ``slow_down``; 0 before it.
        heard_at: the time of the last poll, or of the end of its response.
        answered_at: like ``heard_at``, but of the last poll that was not answered with ``slow_down``.
        told_final: after a final answer, the rule that another poll breaks.
        was_noted: whether the referee has noted a poll below the told interval.
    """

    applicant: Applicant
    user_code: str = field(repr=False)
    device_code: str = field(repr=False)
    issued_at: float
    expires_in: int
    interval: int
    slowed_to: int = 0
    state: PairState = PairState.WAITING
    polls: int = 0
    heard_at: float = -inf
    answered_at: float = -inf
    was_noted: bool = False
    not_before: float = 0
    told_final: RuleName | None = None

    @property
    def expires_at(self) -> float:
        """Return when the code pair expires."""
        return self.issued_at + self.expires_in


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """A client's request that a browser carries: the applicant, the return address, and with PKCE a challenge."""

    applicant: Applicant
    redirect_uri: str
    state: str | None = field(default=None, repr=False)
    challenge: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SentBack:
    """A response that the browser carries to the client, in the address that it is sent back to."""

    address: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCode:
    """An authorization code at the server, without the code; ``grant_id`` once it was used."""

    request: AuthorizationRequest
    issued_at: float
    expires_in: int
    grant_id: int | None = None
    was_told_final: bool = False

    @property
    def expires_at(self) -> float:
        """Return when the code expires."""
        return self.issued_at + self.expires_in


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client ID, with the secret if one was sent."""

    client_id: str
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeExchange:
    """A client's request for tokens by an authorization code."""

    dialect: DialectName = DialectName.LWA
    code: str = field(repr=False)
    credentials: Credentials
    redirect_uri: str
    verifier: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """An owner's grant to one applicant; only the device flow has a user code."""

    grant_id: int
    applicant: Applicant
    user_code: str = field(repr=False)
    flow: Flow = Flow.DEVICE_CODE
    is_revoked: bool = False
    refreshes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A grant's tokens for the client; ``replaces`` is the fingerprint of the former refresh token."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    scopes: tuple[str, ...]
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class OAuthRefusal:
    """An error of OAuth, by its name on the wire."""

    error: str
    description: str


SLOW_DOWN: Final = OAuthRefusal("slow_down", "Poll less often.")


@dataclass(frozen=True, slots=True)
class KeptToken:
    """The record of a refresh token; never the token."""

    grant_id: int
    is_replaced: bool = False
