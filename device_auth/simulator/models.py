"""The values of the simulated Amazon: who asks, what was given, what was refused."""

from dataclasses import dataclass, field
from enum import StrEnum

from device_auth.core.models import DialectName


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
class CodePair:
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
class Grant:
    """What an owner has given to one applicant."""

    grant_id: int
    applicant: Applicant
    user_code: str = field(repr=False)
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
class Refused:
    """An error answer, by its name on the wire."""

    error: str
    description: str


@dataclass(frozen=True, slots=True)
class KeptToken:
    """What is kept of a refresh token: never the token."""

    grant_id: int
    is_replaced: bool = False
