"""The referee: records what well-behaved clients never do, and which client did it.

It judges requests only, not responses. No complaint holds a secret: of a request's words it repeats only well-known
parameter names.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

FORM_TYPE: Final = "application/x-www-form-urlencoded"
"""The only content type of a request. Source: RFC 6749 appendix B; LWA "Retrieve a User Code"."""

ACCESS_PREFIX: Final = "Sim|A|"
REFRESH_PREFIX: Final = "Sim|R|"
CODE_PREFIX: Final = "Sim|C|"
SECRET_PREFIXES: Final = (ACCESS_PREFIX, REFRESH_PREFIX, CODE_PREFIX)

MOST_COMPLAINTS: Final = 10_000
"""Complaints that are kept; older ones are only counted."""

_KNOWN_NAMES: Final = frozenset(
    {
        "client_id",
        "client_secret",
        "code",
        "code_challenge",
        "code_challenge_method",
        "code_verifier",
        "device_code",
        "grant_type",
        "redirect_uri",
        "refresh_token",
        "response_type",
        "scope",
        "scope_data",
        "state",
        "token",
        "token_type_hint",
        "user_code",
    }
)
"""The names that a complaint may repeat: any other might be a secret in the place of a name."""

_SECRET_NAMES: Final = frozenset(
    {"access_token", "client_secret", "code_verifier", "device_code", "refresh_token", "token"}
)
_NAMES_OF_PAGES: Final = frozenset({"code", "user_code"})
"""Secret too, but the phone page may have them in its address."""


class ComplaintKind(StrEnum):
    """The kinds of complaints."""

    POLLED_TOO_EARLY = "polled-too-early"
    REPEATED_FINAL_CODE = "repeated-final-code"
    MISSING_PARAMETER = "missing-parameter"
    EXTRA_PARAMETER = "extra-parameter"
    DUPLICATE_PARAMETER = "duplicate-parameter"
    WRONG_PARAMETER = "wrong-parameter"
    WRONG_CONTENT_TYPE = "wrong-content-type"
    WRONG_ACCEPT = "wrong-accept"
    AUTHORIZATION_HEADER = "authorization-header"
    NO_ACCEPT_LANGUAGE = "no-accept-language"
    WRONG_METHOD = "wrong-method"
    SECRET_IN_URL = "secret-in-url"
    OLD_REFRESH_TOKEN = "old-refresh-token"
    REFRESH_TOKEN_ELSEWHERE = "refresh-token-elsewhere"
    FOLLOWED_REDIRECT = "followed-redirect"
    NO_STATE = "no-state"
    PLAIN_CHALLENGE = "plain-challenge"
    OTHER_REDIRECT_URI = "other-redirect-uri"
    REPEATED_EXCHANGE = "repeated-exchange"
    UNEXPECTED_SECRET = "unexpected-secret"


@dataclass(frozen=True, slots=True)
class Complaint:
    """A mistake of one client."""

    kind: ComplaintKind
    sentence: str
    endpoint: str
    client: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The form of a request to one endpoint; with ``takes_basic`` the Authorization header may name the client."""

    method: str = "POST"
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    needs_language: bool = False
    takes_basic: bool = False


AUTHORIZATION: Final = Rule(
    method="GET",
    required=frozenset({"client_id", "scope", "response_type", "redirect_uri"}),
    optional=frozenset({"scope_data", "state", "code_challenge", "code_challenge_method"}),
)
"""The form of an authorization request. Source: LWA "Authorization Code Grant"; RFC 7636 §4.3."""


@dataclass(frozen=True, slots=True)
class ObservedRequest:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def form(self) -> list[tuple[str, str]]:
        """Read the body as a form; an empty value counts as left out. Source: RFC 6749 §3.2."""
        text = self.body.decode("utf-8", "replace")
        return [(name, value) for name, value in parse_qsl(text, keep_blank_values=True) if value]


Remark = tuple[ComplaintKind, str]


def judge(seen: ObservedRequest, rule: Rule) -> Iterator[Remark]:
    """Yield every breach of an endpoint's rule."""
    if seen.method != rule.method:
        yield ComplaintKind.WRONG_METHOD, f"The method must be {rule.method}."
        return
    if seen.headers.get("accept") != "application/json":
        yield ComplaintKind.WRONG_ACCEPT, "The Accept header must be application/json."
    is_named_above = "authorization" in seen.headers
    if is_named_above and not rule.takes_basic:
        yield ComplaintKind.AUTHORIZATION_HEADER, "A public client sends no Authorization header."
    if rule.needs_language and not seen.headers.get("accept-language"):
        yield ComplaintKind.NO_ACCEPT_LANGUAGE, "The request for a code pair needs Accept-Language."
    if rule.method == "POST":
        if seen.headers.get("content-type") != FORM_TYPE:
            yield ComplaintKind.WRONG_CONTENT_TYPE, f"The content type must be {FORM_TYPE} and nothing more."
        needed = rule.required - {"client_id"} if is_named_above and rule.takes_basic else rule.required
        optional = rule.optional | (rule.required - needed)
        yield from _judge_form(seen.form(), replace(rule, required=needed, optional=optional))


def judge_authorization(parameters: list[tuple[str, str]]) -> Iterator[Remark]:
    """Yield every mistake in an authorization request."""
    yield from _judge_form(parameters, AUTHORIZATION)
    words = dict(parameters)
    if "state" not in words:
        yield ComplaintKind.NO_STATE, "A request without state is open to forgery."  # RFC 6749 §10.12
    if "code_challenge" in words and words.get("code_challenge_method", "plain") == "plain":
        yield (
            ComplaintKind.PLAIN_CHALLENGE,
            "The code challenge must be hashed: code_challenge_method must be S256.",
        )


def _judge_form(form: list[tuple[str, str]], rule: Rule) -> Iterator[Remark]:
    names = [name for name, _ in form]
    for name in sorted(rule.required - set(names)):
        yield ComplaintKind.MISSING_PARAMETER, f"The parameter {name} is missing."
    for name in sorted(set(names) - rule.required - rule.optional):
        yield ComplaintKind.EXTRA_PARAMETER, f"{_plain(name)} does not belong here."
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield ComplaintKind.DUPLICATE_PARAMETER, f"{_plain(name)} was sent more than once."


def leaks(seen: ObservedRequest, is_device_code: Callable[[str], bool], *, is_page: bool) -> Iterator[Remark]:
    """Yield secrets in an address, where proxies and logs can read them.

    Args:
        seen: the request.
        is_device_code: whether a text is a device code that was issued.
        is_page: the phone page may carry the user code in its address; an endpoint may not.
    """
    pairs = parse_qsl(seen.query, keep_blank_values=True)
    names = {name.lower() for name, _ in pairs}
    words = [value for _, value in pairs] + unquote(seen.path).split("/")
    is_named = bool(names & (_SECRET_NAMES if is_page else _SECRET_NAMES | _NAMES_OF_PAGES))
    is_known = any(word.startswith(SECRET_PREFIXES) or is_device_code(word) for word in words)
    if is_named or is_known:
        yield ComplaintKind.SECRET_IN_URL, "A code or a token stood in the address of a request."


def carries_refresh_token(seen: ObservedRequest) -> bool:
    """Return whether a simulated refresh token is in the body or the headers of a request."""
    texts = [seen.body, *(value.encode("latin-1", "replace") for value in seen.headers.values())]
    return any(REFRESH_PREFIX.encode() in unquote_to_bytes(text) for text in texts)


def _plain(name: str) -> str:
    return f"The parameter {name}" if name in _KNOWN_NAMES else "A parameter of an unknown name"


class Referee:
    """Keeps the complaints."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._complaints: deque[Complaint] = deque(maxlen=MOST_COMPLAINTS)
        self._counts: Counter[ComplaintKind] = Counter()

    def complain(self, kind: ComplaintKind, sentence: str, *, endpoint: str, client: str = "") -> None:
        """Count a complaint and keep it, in place of the oldest if there are too many."""
        complaint = Complaint(kind, sentence, endpoint, client, self._clock())
        with self._lock:
            self._counts[kind] += 1
            self._complaints.append(complaint)

    def complaints(self) -> tuple[Complaint, ...]:
        """Return the last complaints since the reset, oldest first; ``counts`` knows of more."""
        with self._lock:
            return tuple(self._complaints)

    def counts(self) -> dict[str, int]:
        """Return the number of all complaints since the reset, by kind."""
        with self._lock:
            return {kind.value: count for kind, count in self._counts.items()}

    def reset(self) -> None:
        """Forget every complaint."""
        with self._lock:
            self._complaints.clear()
            self._counts.clear()
