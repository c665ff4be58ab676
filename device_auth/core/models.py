"""The values linking is made of: times, secrets, requests and answers, code pairs, grants, links.

Nothing here changes once made. Anything secret shows nothing of itself when printed.
"""

import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NewType, NoReturn

from device_auth.core.states import OneTimeNotice, StateWord, Trouble
from device_auth.core.values import dataclass, field, replace

Seconds = NewType("Seconds", float)
"""A length of time."""

Monotonic = NewType("Monotonic", float)
"""A moment on the clock that counts suspend and ignores time steps; for deadlines within one boot."""

UnixTime = NewType("UnixTime", float)
"""A moment in seconds since 1970 UTC; for people and for the disk."""

NEVER: Final = Monotonic(float("inf"))
"""A moment that does not come."""

FOREVER: Final = Seconds(float("inf"))
"""A length that does not end."""


def later(moment: Monotonic, length: Seconds) -> Monotonic:
    """Return the moment that lies ``length`` after ``moment``."""
    return Monotonic(moment + length)


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The moment that a machine waited for may have come."""


class Secret:
    """A text that must not be seen: prints as nothing, compares in constant time, and has one way out.

    Args:
        text: the secret itself.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself. Only the wire, the store and the token service may ask."""
        return self._text

    def __repr__(self) -> str:
        return "Secret()"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (text.encode("utf-8", "surrogatepass") for text in (self._text, other._text))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class DialectName(StrEnum):
    """The name of a dialect of the device flow."""

    LWA = "lwa"
    RFC8628 = "rfc8628"


class Flow(StrEnum):
    """The flow by which a grant was obtained."""

    DEVICE_CODE = "device_code"
    AUTHORIZATION_CODE = "authorization_code"


# ---------------------------------------------------------------------------------------------------------
# Requests and responses


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One request, ready to send; headers and body may hold secrets and are not shown."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class WireResponse:
    """One HTTP response as it arrived.

    Attributes:
        url: what was asked.
        status: the HTTP status.
        headers: names in lower case; not shown, for they may hold anything.
        body: at most 64 KiB of it.
        is_whole: false if the body was longer than that, or broke off.
        sent_at: the moment before the request left: lifetimes count from here.
        received_at: the wall clock when the answer had come.
    """

    url: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    is_whole: bool
    sent_at: Monotonic
    received_at: UnixTime


# ---------------------------------------------------------------------------------------------------------
# Answers, understood


@dataclass(frozen=True, slots=True)
class CodePair:
    """Issued to link one speaker: the user code a person enters, the device code we poll with.

    Attributes:
        verification_uri: where the user enters the code.
        prefilled_uri: the page with the code filled in, if the provider has one.
        expires_in: lifetime when issued.
        expires_at: the end of it, counted from before the request left.
        interval: least wait between polls.
    """

    user_code: str = field(repr=False)
    device_code: Secret
    verification_uri: str
    prefilled_uri: str | None = field(repr=False)
    expires_in: Seconds
    expires_at: Monotonic
    interval: Seconds


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """Both tokens together, or after a refresh perhaps the access token alone.

    Attributes:
        refresh_token: None where a refresh brought no new one: the old one stays.
        expires_in: lifetime of the access token when issued.
        expires_at: the end of it, counted from before the request left.
        odd_fields: names of the response's fields that were not of the documented form, for the log.
    """

    access_token: Secret
    refresh_token: Secret | None
    expires_in: Seconds
    expires_at: Monotonic
    odd_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """The owner has not decided yet."""

    retry_after: Seconds | None = None


@dataclass(frozen=True, slots=True)
class SlowDown:
    """The provider asks for longer waits between polls."""

    retry_after: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is understood and final.

    Attributes:
        trouble: ``expired``, ``denied``, ``misconfigured`` or ``revoked``.
        error: the provider's name for it, as it stands in the documents; empty if it is our own finding.
        message: what happened, for a person; no secrets.
        hint: what the person should do, naming the setting to look at if there is one.
    """

    trouble: Trouble
    error: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """Something answered, but not in any documented form: wait and ask again.

    Attributes:
        trouble: ``provider-unavailable`` or ``captive-portal``.
        what: what was odd, for the log; no part of the body.
        retry_after: how long the provider asks to be left alone, at most an hour.
    """

    trouble: Trouble
    what: str
    retry_after: Seconds | None = None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No answer came: wait and ask again.

    Attributes:
        trouble: ``no-network``, ``provider-unavailable``, ``clock-not-set``; ``misconfigured`` where a person has to mend
            this machine before any request can leave it.
        what: what went wrong, for the log; for a person too where it is ``misconfigured``.
        timed_out: the request was out for its whole time; RFC 8628 §3.5 wants longer waits after that.
        hint: what a person should do; empty if it passes by itself.
    """

    trouble: Trouble
    what: str
    timed_out: bool = False
    hint: str = ""

    @property
    def refusal(self) -> Refusal | None:
        """Return what a person has to mend, as what ends an attempt; None if it passes by itself."""
        is_local = self.trouble is Trouble.MISCONFIGURED
        return Refusal(self.trouble, "", self.what, self.hint) if is_local else None


@dataclass(frozen=True, slots=True)
class Profile:
    """The account that a grant belongs to.

    Attributes:
        user_id: the provider's name for it; the same for good.
        name: the owner's name for it; None if the scope gives none.
    """

    user_id: str = field(repr=False)
    name: str | None = field(default=None, repr=False)


Answer = CodePair | TokenGrant | Profile | Pending | SlowDown | Refusal | Unclear | Unreachable
"""All that a request can come to."""


# ---------------------------------------------------------------------------------------------------------
# Whom to speak with, and what is kept


@dataclass(frozen=True, slots=True)
class PollRules:
    """The rules for polls in a dialect.

    Attributes:
        first_at_once: the first poll goes out at once, not after one interval.
        slow_down_doubles: ``slow_down`` doubles the interval (at least 5 s more, at most 60 s unless the
            provider's own interval is longer) and from then on it is never less than told; else it adds 5 s.
        at_least: polls until ``slow_down`` come no closer than this, whatever is told.
        at_most: nor further apart than this.
        hurries_after: for an owner who is back, a poll goes out so long after the last one, unless ``slow_down`` came;
            None: at its interval.
    """

    first_at_once: bool
    slow_down_doubles: bool
    at_least: Seconds = Seconds(0)
    at_most: Seconds = FOREVER
    hurries_after: Seconds | None = None

    def interval(self, told: Seconds) -> Seconds:
        """Return the interval until ``slow_down``, where the provider tells this one."""
        return max(self.at_least, min(told, self.at_most))


@dataclass(frozen=True, slots=True)
class Provider:
    """The provider, and the client that requests to it name.

    Attributes:
        device_endpoint: where code pairs come from; empty until discovered from ``issuer``.
        token_endpoint: where tokens come from; likewise.
        userinfo_endpoint: tells whose account it is; RFC 8628 only; empty if there is none.
        secret_by_basic: a client secret goes in the header (``client_secret_basic``), not in the form.
        product_id: LWA only.
        dsn: this unit's serial number; LWA only.
        locale: LWA only: the language, and with it the country, of the verification page.
    """

    dialect: DialectName
    client_id: str
    scope: str
    device_endpoint: str = ""
    token_endpoint: str = ""
    revocation_endpoint: str = ""
    userinfo_endpoint: str = ""
    secret_by_basic: bool = False
    issuer: str = ""
    product_id: str = ""
    dsn: str = ""
    locale: str = "en-US"


class Mark(StrEnum):
    """The reason why a stored link is kept but not used."""

    REVOKED = "revoked"
    MISCONFIGURED = "misconfigured"
    HANDED_OVER = "handed-over"
    COPIED = "copied"
    """Of another unit; found at each reading of the store, and never written to it."""


MARKS: Final[dict[Mark, Trouble]] = {
    Mark.REVOKED: Trouble.REVOKED,
    Mark.MISCONFIGURED: Trouble.MISCONFIGURED,
    Mark.HANDED_OVER: Trouble.NONE,
    Mark.COPIED: Trouble.COPIED,
}
"""The trouble of a link with each mark."""


@dataclass(frozen=True, slots=True)
class Link:
    """A stored grant with all that a refresh needs.

    Attributes:
        link_id: names this link through all its generations.
        linked_at: when the owner approved; wall clock.
        is_proved: a refresh has shown that the refresh token and the client ID hold.
        mark: why it is kept but not used, or None.
        marked_at: since when.
        replaces: the link that was in force before, kept until this one is proved.
        account: its name, else its user ID; None if unknown.
        account_id: its user ID; None if unknown.
        secret_by_basic: the secret goes in the header, not in the form.
        handed_over_to: whose it is now; such a link has no refresh token: that is what makes it a move.
        dsn: of the unit that the link belongs to; empty if not known.
        board: mark of that unit's board; empty if not known.
        takes_secret: its client authenticates with a secret.
    """

    link_id: str
    dialect: DialectName
    flow: Flow
    client_id: str
    scope: str
    token_endpoint: str
    revocation_endpoint: str
    refresh_token: Secret
    linked_at: UnixTime
    is_proved: bool = False
    account: str | None = None
    mark: Mark | None = None
    marked_at: UnixTime | None = None
    replaces: "Link | None" = None
    handed_over_to: str | None = None
    dsn: str = ""
    board: str = ""
    takes_secret: bool = False
    account_id: str | None = None
    secret_by_basic: bool = False


def hand_over(link: Link, to: str, at: UnixTime) -> Link:
    """Return what is left of a link once another client has it: all but what could still be used, or revoked.

    Args:
        link: as it was.
        to: whose it is now, for a person.
        at: since when.
    """
    return replace(
        link,
        refresh_token=Secret(""),
        revocation_endpoint="",
        mark=Mark.HANDED_OVER,
        marked_at=at,
        replaces=None,
        handed_over_to=to,
    )


class ProofStanding(StrEnum):
    """The progress of the first refresh of a saved grant."""

    OPEN = "open"
    """No answer yet, or one that passes: it is asked again."""
    DOUBTED = "doubted"
    """``invalid_grant`` came once: nobody is told "linked" until it is settled."""
    HOLDS = "holds"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class PendingPair:
    """A current code pair, with all that is needed to go on with it after a restart.

    Attributes:
        interval: the one in use, after every ``slow_down``.
    """

    pair: CodePair
    interval: Seconds
    provider: Provider


@dataclass(frozen=True, slots=True)
class View:
    """All that a person may be told at one moment; every prompt shows the same one.

    Attributes:
        hint: what the person should do next; may be empty.
        code_pair: the one to show, while waiting.
        refusal: how the last attempt ended, until it is told no more.
        account: the name of the account, else its user ID, where the scope gives one.
        account_id: its user ID, likewise.
        is_checking: ``invalid_grant`` came once, and is asked about again; told in place of the trouble's sentence.
        sequence: goes up each time the same state is to be told again.
        notice: to be told once, beside the state.
        doubt: why what is stored may not outlast a power cut; empty if it does.
    """

    state: StateWord
    trouble: Trouble
    hint: str = ""
    code_pair: CodePair | None = None
    refusal: Refusal | None = None
    account: str | None = None
    sequence: int = 0
    notice: OneTimeNotice | None = None
    account_id: str | None = None
    is_checking: bool = False
    doubt: str = ""

    @property
    def account_name(self) -> str | None:
        """Return the name of the account; None if only its user ID is known, which tells a person nothing."""
        return None if self.account == self.account_id else self.account
