"""The referee: complains of what a source forbids, notes what this project's own speaker does not do.

It judges requests only, not responses. No remark holds a secret: of a request's words it repeats only well-known
parameter names.
"""

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from device_auth.core.models import DialectName

FORM_TYPE: Final = "application/x-www-form-urlencoded"
"""The documented content type of a request. Source: RFC 6749 appendix B; LWA "Retrieve a User Code"."""

JSON_TYPE: Final = "application/json"

ACCESS_PREFIX: Final = "Sim|A|"
REFRESH_PREFIX: Final = "Sim|R|"
CODE_PREFIX: Final = "Sim|C|"
SECRET_PREFIXES: Final = (ACCESS_PREFIX, REFRESH_PREFIX, CODE_PREFIX)

MOST_REMARKS: Final = 10_000
"""Complaints, and notes, that are kept; older ones are only counted."""

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
"""The names that a remark may repeat: any other might be a secret in the place of a name."""

_SECRET_NAMES: Final = frozenset(
    {"access_token", "client_secret", "code_verifier", "device_code", "refresh_token", "token"}
)
_NAMES_OF_PAGES: Final = frozenset({"code", "user_code"})
"""Secret too, but the phone page may have them in its address."""


class RuleName(StrEnum):
    """The names of the referee's rules."""

    POLLED_TOO_EARLY = "polled-too-early"
    POLL_BELOW_TOLD = "poll-below-told"
    REPEATED_FINAL_CODE = "repeated-final-code"
    REPEATED_DECLINED_CODE = "repeated-declined-code"
    MISSING_PARAMETER = "missing-parameter"
    EXTRA_PARAMETER = "extra-parameter"
    DUPLICATE_PARAMETER = "duplicate-parameter"
    WRONG_PARAMETER = "wrong-parameter"
    WRONG_CONTENT_TYPE = "wrong-content-type"
    JSON_BODY = "json-body"
    CONTENT_TYPE_PARAMETER = "content-type-parameter"
    OTHER_ACCEPT = "other-accept"
    AUTHORIZATION_HEADER = "authorization-header"
    NO_ACCEPT_LANGUAGE = "no-accept-language"
    WRONG_METHOD = "wrong-method"
    SECRET_IN_URL = "secret-in-url"
    TOKEN_BY_QUERY = "token-by-query"
    OLD_REFRESH_TOKEN = "old-refresh-token"
    REFRESH_TOKEN_ELSEWHERE = "refresh-token-elsewhere"
    UNKNOWN_REFRESH_TOKEN = "unknown-refresh-token"
    FOLLOWED_REDIRECT = "followed-redirect"
    NO_STATE = "no-state"
    OPEN_TO_FORGERY = "open-to-forgery"
    PLAIN_CHALLENGE = "plain-challenge"
    OTHER_REDIRECT_URI = "other-redirect-uri"
    REPEATED_EXCHANGE = "repeated-exchange"
    UNEXPECTED_SECRET = "unexpected-secret"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the referee.

    Attributes:
        meaning: the act that breaks it.
        source: of a complaint, the text that forbids the act; of a note, why this project's own speaker does not do it.
        is_note: whether a breach is only noted, because no source forbids the act.
    """

    meaning: str
    source: str
    is_note: bool = False


RULES: Final[Mapping[RuleName, Rule]] = {
    RuleName.POLLED_TOO_EARLY: Rule(
        "A poll came before the interval, the wait after slow_down, or Retry-After was over;"
        " from LWA's clients, closer than 5 s to the last.",
        "RFC 8628 §3.5; RFC 9110 §10.2.3; AVS Device SDK, CBLAuthDelegate.cpp",
    ),
    RuleName.POLL_BELOW_TOLD: Rule(
        "LWA told a longer interval than a client waits (noted once a code pair).",
        'LWA "Retrieve a User Code": the interval is the time to wait; Amazon\'s own clients wait 5 s',
        is_note=True,
    ),
    RuleName.REPEATED_FINAL_CODE: Rule(
        "A code pair was polled again after its final answer.", "RFC 8628 §3.5"
    ),
    RuleName.REPEATED_DECLINED_CODE: Rule(
        "LWA's code pair was polled again after an error that LWA does not document: access_denied, expired_token.",
        "RFC 8628 §3.5; the tables of Amazon's own clients have neither, and they poll on",
        is_note=True,
    ),
    RuleName.MISSING_PARAMETER: Rule(
        "A required parameter is missing.", "RFC 6749 §5.2; the endpoint's own documentation"
    ),
    RuleName.EXTRA_PARAMETER: Rule(
        "A parameter, or a member of scope_data, does not belong to this request.",
        "RFC 6749 §3.2: servers ignore it; an extra parameter may be a misspelt one",
        is_note=True,
    ),
    RuleName.DUPLICATE_PARAMETER: Rule("A parameter was sent more than once.", "RFC 6749 §3.1, §3.2"),
    RuleName.WRONG_PARAMETER: Rule(
        "A parameter has a value that cannot be right.", "RFC 6749 §5.2; the endpoint's own documentation"
    ),
    RuleName.WRONG_CONTENT_TYPE: Rule(
        "The body is neither a form nor, at LWA's endpoints, JSON.",
        "RFC 6749 appendix B; RFC 8628 §3.1, §3.4",
    ),
    RuleName.JSON_BODY: Rule(
        "A request to LWA has a JSON body.",
        'LWA "Retrieve a User Code" documents the form; Amazon\'s Java sample posts JSON',
        is_note=True,
    ),
    RuleName.CONTENT_TYPE_PARAMETER: Rule(
        "The form's content type has a parameter, such as charset.",
        "IANA registers none for application/x-www-form-urlencoded; servers ignore it",
        is_note=True,
    ),
    RuleName.OTHER_ACCEPT: Rule(
        "The Accept header is not application/json.",
        "RFC 9110 §12.5.1 leaves it to the client; every answer here is JSON",
        is_note=True,
    ),
    RuleName.AUTHORIZATION_HEADER: Rule(
        "A request of LWA's code-based linking has an Authorization header.",
        'LWA "Retrieve a User Code" has none',
        is_note=True,
    ),
    RuleName.NO_ACCEPT_LANGUAGE: Rule(
        "The request for LWA's code pair has no Accept-Language.",
        "AVS Device SDK, CBLAuthDelegate.cpp: it selects the country of the verification page",
        is_note=True,
    ),
    RuleName.WRONG_METHOD: Rule(
        "The endpoint has another method.", "RFC 6749 §3.2; RFC 8628 §3.1; RFC 8414 §3.1"
    ),
    RuleName.SECRET_IN_URL: Rule(
        "A code, a token or a client secret stands in an address, where no documentation has one.",
        "RFC 6749 §2.3.1; RFC 6750 §5.3; RFC 9700 §4.3.2",
    ),
    RuleName.TOKEN_BY_QUERY: Rule(
        "The access token for the profile stands in the address.",
        'LWA "Obtain Customer Profile" allows it, and a header; addresses get logged',
        is_note=True,
    ),
    RuleName.OLD_REFRESH_TOKEN: Rule(
        "A refresh token was used after its successor had arrived.", "RFC 6749 §6"
    ),
    RuleName.REFRESH_TOKEN_ELSEWHERE: Rule(
        "A refresh token was sent to an address that is not its token endpoint.", "RFC 6749 §10.4"
    ),
    RuleName.UNKNOWN_REFRESH_TOKEN: Rule(
        "A refresh token came that is of this simulated Amazon's form, and that it has not issued or has forgotten.",
        "RFC 6749 §10.4: a token is its client's own; yet it may be of an earlier run, or have been forgotten",
        is_note=True,
    ),
    RuleName.FOLLOWED_REDIRECT: Rule(
        "A client followed a scripted redirect of an endpoint.",
        "RFC 9700 §4.12: a redirect may carry the body elsewhere",
        is_note=True,
    ),
    RuleName.NO_STATE: Rule(
        "An authorization request has a code challenge but no state.", "RFC 6749 §4.1.1", is_note=True
    ),
    RuleName.OPEN_TO_FORGERY: Rule(
        "An authorization request has neither state nor code challenge.", "RFC 6749 §10.12; RFC 9700 §2.1"
    ),
    RuleName.PLAIN_CHALLENGE: Rule(
        "The code challenge is not hashed.", 'AVS "Authorize Through a Companion App"; RFC 7636 §4.2'
    ),
    RuleName.OTHER_REDIRECT_URI: Rule(
        "The redirect_uri of the exchange is not that of the authorization request.", "RFC 6749 §4.1.3"
    ),
    RuleName.REPEATED_EXCHANGE: Rule(
        "An authorization code was exchanged again after its final answer.", "RFC 6749 §4.1.2"
    ),
    RuleName.UNEXPECTED_SECRET: Rule(
        "A client that has no secret sent one.",
        "AVS Device SDK sends none; LWA's answer to one is not known",
        is_note=True,
    ),
}
"""Every rule. The table of docs/simulator.md is compared with it."""

Breach = tuple[RuleName, str]
"""A rule that was broken, and a sentence for people."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A complaint or a note about one request of one client."""

    kind: RuleName
    sentence: str
    endpoint: str
    client: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestForm:
    """The form of a request to one endpoint.

    Attributes:
        needs_language: whether an Accept-Language header is expected.
        takes_basic: whether the Authorization header may name the client.
        takes_json: whether the body may be a JSON object.
        authenticates: whether the client's credentials are checked before anything else.
    """

    method: str = "POST"
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    needs_language: bool = False
    takes_basic: bool = False
    takes_json: bool = False
    authenticates: bool = False

    def extended(self, required: Collection[str] = (), optional: Collection[str] = ()) -> "RequestForm":
        """Return this form with more parameters."""
        return replace(self, required=self.required.union(required), optional=self.optional.union(optional))


AUTHORIZATIONS: Final = {
    DialectName.LWA: RequestForm(
        method="GET",
        required=frozenset({"client_id", "scope", "response_type", "redirect_uri"}),
        optional=frozenset({"scope_data", "state", "code_challenge", "code_challenge_method"}),
    ),
    DialectName.RFC8628: RequestForm(
        method="GET",
        required=frozenset({"client_id", "response_type", "redirect_uri"}),
        optional=frozenset({"scope", "state", "nonce", "code_challenge", "code_challenge_method"}),
    ),
}
"""The form of an authorization request by dialect.

Source: LWA "Authorization Code Grant"; RFC 7636 §4.3; RFC 6749 §4.1.1; OpenID Connect Core 1.0 §3.1.2.1.
"""


@dataclass(frozen=True, slots=True)
class ObservedRequest:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        """Return the type of the body without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def form(self) -> list[tuple[str, str]]:
        """Read the parameters of the body; an empty value counts as left out. Source: RFC 6749 §3.2."""
        text = self.body.decode("utf-8", "replace")
        pairs = _json_pairs(text) if self.media_type == JSON_TYPE else parse_qsl(text, keep_blank_values=True)
        return [(name, value) for name, value in pairs if value]


def _json_pairs(text: str) -> list[tuple[str, str]]:
    """Return the members of a JSON object, each value as it would stand in a form; of anything else, none."""
    try:
        members = json.loads(text)
        return [
            (_plain_utf8(name), _plain_utf8(value if isinstance(value, str) else json.dumps(value)))
            for name, value in (members.items() if isinstance(members, dict) else ())
            if value is not None
        ]
    except (ValueError, RecursionError):
        return []


def _plain_utf8(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can carry and UTF-8 cannot, as a form's decoder does."""
    return text.encode("utf-8", "replace").decode()


def judge(seen: ObservedRequest, parameters: list[tuple[str, str]], wanted: RequestForm) -> Iterator[Breach]:
    """Yield every breach of an endpoint's form; of the body, one alone if it cannot be read.

    Args:
        seen: the request.
        parameters: of its body.
        wanted: by the endpoint.
    """
    if seen.method != wanted.method:
        yield RuleName.WRONG_METHOD, f"The method must be {wanted.method}."
        return
    if seen.headers.get("accept") != JSON_TYPE:
        yield RuleName.OTHER_ACCEPT, "The Accept header is not application/json."
    is_named_above = "authorization" in seen.headers
    if is_named_above and not wanted.takes_basic:
        yield RuleName.AUTHORIZATION_HEADER, "This request has no Authorization header."
    if wanted.needs_language and not seen.headers.get("accept-language"):
        yield RuleName.NO_ACCEPT_LANGUAGE, "The request for a code pair has no Accept-Language."
    if wanted.method == "POST":
        if seen.media_type == JSON_TYPE and wanted.takes_json:
            yield RuleName.JSON_BODY, "The body is JSON; the documented form is x-www-form-urlencoded."
        elif seen.media_type != FORM_TYPE:
            yield RuleName.WRONG_CONTENT_TYPE, f"The content type must be {FORM_TYPE}."
            return
        elif seen.headers["content-type"] != FORM_TYPE:
            yield RuleName.CONTENT_TYPE_PARAMETER, "The content type of the form has a parameter."
        needed = wanted.required - {"client_id"} if is_named_above and wanted.takes_basic else wanted.required
        optional = wanted.optional | (wanted.required - needed)
        yield from _judge_parameters(parameters, needed, optional)


def judge_authorization(parameters: list[tuple[str, str]], dialect: DialectName) -> Iterator[Breach]:
    """Yield every mistake in an authorization request."""
    wanted = AUTHORIZATIONS[dialect]
    yield from _judge_parameters(parameters, wanted.required, wanted.optional)
    words = dict(parameters)
    has_challenge = "code_challenge" in words
    if "state" not in words and has_challenge:
        yield RuleName.NO_STATE, "The request has no state."
    elif "state" not in words:
        yield RuleName.OPEN_TO_FORGERY, "A request without state and code_challenge is open to forgery."
    if has_challenge and words.get("code_challenge_method", "plain") == "plain":
        yield (
            RuleName.PLAIN_CHALLENGE,
            "The code challenge must be hashed: code_challenge_method must be S256.",
        )


def _judge_parameters(
    parameters: list[tuple[str, str]], required: frozenset[str], optional: frozenset[str]
) -> Iterator[Breach]:
    names = [name for name, _ in parameters]
    for name in sorted(required - set(names)):
        yield RuleName.MISSING_PARAMETER, f"The parameter {name} is missing."
    for name in sorted(set(names) - required - optional):
        yield RuleName.EXTRA_PARAMETER, f"{_plain(name)} does not belong here."
    if any(name == "scope_data" and _has_other_members(value) for name, value in parameters):
        yield RuleName.EXTRA_PARAMETER, "The parameter scope_data has a member that does not belong there."
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield RuleName.DUPLICATE_PARAMETER, f"{_plain(name)} was sent more than once."


def _has_other_members(scope_data: str) -> bool:
    """Return whether ``scope_data`` has more than what a speaker is named by. Source: AVS Device SDK, CBLAuthDelegate.cpp."""
    try:
        match json.loads(scope_data):
            case {"alexa:all": {"productID": _, "productInstanceAttributes": {**named}, **rest}, **others}:
                return bool(rest or others) or named.keys() != {"deviceSerialNumber"}
            case _:
                return False
    except (ValueError, RecursionError):
        return False


def leaks(seen: ObservedRequest, is_device_code: Callable[[str], bool], *, is_page: bool) -> Iterator[Breach]:
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
        yield RuleName.SECRET_IN_URL, "A code or a token stood in the address of a request."


def carries_refresh_token(seen: ObservedRequest) -> bool:
    """Return whether a simulated refresh token is in the body or the headers of a request."""
    texts = [seen.body, *(value.encode("latin-1", "replace") for value in seen.headers.values())]
    return any(REFRESH_PREFIX.encode() in unquote_to_bytes(text) for text in texts)


def _plain(name: str) -> str:
    return f"The parameter {name}" if name in _KNOWN_NAMES else "A parameter of an unknown name"


class Referee:
    """Keeps complaints and notes.

    Args:
        clock: seconds of the simulated Amazon.
        is_strict: whether notes become complaints.
        allowed: rules whose breaches stay notes all the same.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        is_strict: bool = False,
        allowed: Collection[RuleName] = (),
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._noted = {
            name for name, rule in RULES.items() if rule.is_note and (not is_strict or name in allowed)
        }
        self._complaints: deque[Remark] = deque(maxlen=MOST_REMARKS)
        self._notes: deque[Remark] = deque(maxlen=MOST_REMARKS)
        self._counts: Counter[RuleName] = Counter()

    def report(self, kind: RuleName, sentence: str, *, endpoint: str, client: str = "") -> None:
        """Count a breach and keep it, in place of the oldest if there are too many."""
        remark = Remark(kind, sentence, endpoint, client, self._clock())
        with self._lock:
            self._counts[kind] += 1
            (self._notes if kind in self._noted else self._complaints).append(remark)

    def complaints(self) -> tuple[Remark, ...]:
        """Return the last complaints since the reset, oldest first; ``counts`` knows of more."""
        with self._lock:
            return tuple(self._complaints)

    def notes(self) -> tuple[Remark, ...]:
        """Return the last notes since the reset, oldest first; ``counts`` knows of more."""
        with self._lock:
            return tuple(self._notes)

    def counts(self) -> dict[str, int]:
        """Return the number of all complaints and notes since the reset, by rule."""
        with self._lock:
            return {kind.value: count for kind, count in self._counts.items()}

    def reset(self) -> None:
        """Forget every complaint and note."""
        with self._lock:
            self._complaints.clear()
            self._notes.clear()
            self._counts.clear()
