"""The socket API: status, tokens, events and actions for other programs on this machine.

The kernel identifies the connecting process, and its user and groups decide what it may do. The access token is given
out here; the refresh token is never read.
"""

import json
import logging
import re
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from http import HTTPStatus
from math import ceil
from pathlib import Path
from typing import Final, NamedTuple, assert_never
from urllib.parse import parse_qsl

from device_auth import __version__
from device_auth.core import refresh
from device_auth.core.errors import ConfigError, DeviceAuthError
from device_auth.core.models import (
    FOREVER,
    Mark,
    Monotonic,
    Seconds,
    Secret,
    TokenGrant,
    UnixTime,
    View,
    later,
)
from device_auth.core.policy import FRESH_FOR, MOST_REFRESH_WAIT
from device_auth.core.ports import Clock
from device_auth.core.public import (
    FRESH,
    AccessToken,
    SpeakerStatus,
    hand_over_of,
    health_fields,
    health_of,
    status_fields,
    status_text,
    token_fields,
    write_json,
)
from device_auth.core.states import STATES, TROUBLES, StateWord, Trouble, phrase_of
from device_auth.http.admission import ConnectionLimits
from device_auth.http.connection import HttpConnection, HttpError, HttpReply, HttpRequest, ReadLimits
from device_auth.http.events import stream, write_event
from device_auth.http.listeners import UnixListener
from device_auth.http.server import HttpServer
from device_auth.service.callers import Caller, Permissions, Role, read_caller
from device_auth.service.status_feed import Actions, Snapshot, StatusFeed

log: Final = logging.getLogger(__name__)

MIN_LIFETIME: Final = Seconds(FRESH)
"""Least time left of a token, unless the request asks for another."""

UNPRIVILEGED: Final = "unprivileged"
"""All unprivileged callers have one share of the places together."""

PROBLEM: Final = "urn:device-auth:"
"""Begins the ``type`` of each problem. Source: RFC 9457."""

PROBLEMS: Final = {
    "bad-request": (HTTPStatus.BAD_REQUEST, "The request makes no sense here"),
    "busy": (HTTPStatus.SERVICE_UNAVAILABLE, "Not now"),
    "forbidden": (HTTPStatus.FORBIDDEN, "This caller may not do that"),
    "internal": (HTTPStatus.INTERNAL_SERVER_ERROR, "The service made a mistake"),
    "length-required": (HTTPStatus.LENGTH_REQUIRED, "The length of the body is missing"),
    "method-not-allowed": (HTTPStatus.METHOD_NOT_ALLOWED, "This cannot be done here"),
    "no-key": (HTTPStatus.CONFLICT, "No key is set up, or it is not available"),
    "no-fresh-token": (HTTPStatus.SERVICE_UNAVAILABLE, "No fresh access token is to be had now"),
    "not-found": (HTTPStatus.NOT_FOUND, "There is nothing here"),
    "not-linked": (HTTPStatus.CONFLICT, "The speaker is not linked to an account"),
    "revoked": (HTTPStatus.GONE, "The account no longer allows this speaker"),
    "storage": (HTTPStatus.INSUFFICIENT_STORAGE, "The link cannot be stored"),
    "too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is too large"),
    "too-slow": (HTTPStatus.REQUEST_TIMEOUT, "The request is too slow"),
    "unsupported-media-type": (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is of another type"),
}
"""Status and title of each. Source: RFC 9457 §3.1.4: one title for one type."""


class ApiTimeouts(NamedTuple):
    """Times that replies may take.

    Attributes:
        token: the wait for a refresh; more than the 20 s after which a request to the provider is given up.
        retry_after: when a client is to ask again for a token that could not be had.
    """

    token: Seconds = Seconds(25)
    retry_after: Seconds = Seconds(10)


READ_LIMITS: Final = ReadLimits()
ADMISSION: Final = ConnectionLimits(
    places=72, share=8, spare=8, waiting=256, streams=8, streams_share=16, streams_count=False
)
"""64 connections for all, and 8 more for users who have none, whatever the others wait for."""
TIMEOUTS: Final = ApiTimeouts()

Connection = HttpConnection[Caller]


class ProblemDetails(HttpError):
    """A request that is refused.

    Args:
        name: one of ``PROBLEMS``.
        detail: what was wrong this time, and what to do.
        headers: of the reply.
        status: of the reply, if another than usual.

    Source: RFC 9457.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        status: HTTPStatus | None = None,
    ) -> None:
        usual, self.title = PROBLEMS[name]
        super().__init__(status or usual, detail, headers or {})
        self.name = name

    def as_reply(self) -> HttpReply:
        """Write the reply."""
        fields = {
            "type": PROBLEM + self.name,
            "title": self.title,
            "status": self.status.value,
            "detail": self.reason,
        }
        return _reply(self.status, fields, {"Content-Type": "application/problem+json", **self.headers})


class _ApiRoute(NamedTuple):
    """The least role that a request needs, and the function that answers it."""

    role: Role
    answer: Callable[[Connection, HttpRequest], HttpReply]


class _ForcedRefresh(NamedTuple):
    """The last refresh that was forced, and the number of refreshes that had ended by then."""

    at: Monotonic
    refreshes: int


class Api:
    """Answers on the socket.

    Args:
        feed: what the loop knows.
        actions: what the loop may be asked for.
        clock: for both times.
        listener: a socket that listens already and stays open, or the path of one to make.
        taken: the socket at that path that listens already, if this service made it before a fresh start.
        permissions: who may do what.
        identify: asks the kernel for the process at the other end; may raise OSError.
        limits: of each request and reply.
        admission: how many connections and event streams at once.
        timeouts: of replies.
        name: returns what people call the speaker.

    Raises:
        StoreError: if the socket cannot be made.
    """

    def __init__(
        self,
        feed: StatusFeed,
        actions: Actions,
        clock: Clock,
        *,
        listener: socket.socket | Path,
        taken: socket.socket | None = None,
        permissions: Permissions,
        identify: Callable[[socket.socket], Caller] = read_caller,
        limits: ReadLimits = READ_LIMITS,
        admission: ConnectionLimits = ADMISSION,
        timeouts: ApiTimeouts = TIMEOUTS,
        name: Callable[[], str] = lambda: "",
    ) -> None:
        self._feed = feed
        self._actions = actions
        self._clock = clock
        self._permissions = permissions
        self._read_caller = identify
        self._limits = limits
        self._most_streams = admission.streams
        self._timeouts = timeouts
        self._name = name
        self._lock = threading.Lock()
        self._forced: _ForcedRefresh | None = None
        self._own = None
        if isinstance(listener, Path):
            self._own = UnixListener(listener, permissions.readers, taken)
            listener = self._own.listener
        self.listener = listener
        self.server = HttpServer(
            "api",
            clock,
            identify=self._identify,
            answer=self._answer,
            refuse=lambda error, _accepted, _request: _refuse(error),
            admission=admission,
            keep_alive=True,
        )
        self._routes: dict[str, dict[str, _ApiRoute]] = {
            "/v1/status": {"GET": _ApiRoute(Role.READER, self._status)},
            "/v1/health": {"GET": _ApiRoute(Role.READER, self._health)},
            "/v1/token": {"GET": _ApiRoute(Role.READER, self._token)},
            "/v1/token/rejected": {"POST": _ApiRoute(Role.READER, self._rejected)},
            "/v1/events": {"GET": _ApiRoute(Role.READER, self._events)},
            "/v1/link": {"POST": _ApiRoute(Role.ADMINISTRATOR, self._link)},
            "/v1/link/cancel": {
                "POST": _ApiRoute(Role.ADMINISTRATOR, self._acting("cancel", actions.cancel))
            },
            "/v1/seal": {"POST": _ApiRoute(Role.ADMINISTRATOR, self._seal)},
            "/v1/unlink": {"POST": _ApiRoute(Role.ADMINISTRATOR, self._acting("unlink", actions.unlink))},
        }

    def start(self) -> None:
        """Start to answer."""
        self.server.start([self.listener])

    def close(self, *, is_anew: bool = False) -> None:
        """Stop answering and cut every connection. A thread that waits for a snapshot ends with the next.

        Args:
            is_anew: another service goes on with the socket, which stays where it is.
        """
        self.server.close()
        if self._own is not None and not is_anew:
            self._own.close()

    def _identify(self, connection: socket.socket, _address: object) -> Connection:
        caller = self._read_caller(connection)
        is_privileged = self._permissions.role_of(caller) is not Role.UNPRIVILEGED
        owner = caller.uid if is_privileged else UNPRIVILEGED
        return HttpConnection(connection, self._clock, self._limits, caller, owner)

    def _answer(self, accepted: Connection, request: HttpRequest) -> HttpReply:
        role = self._permissions.role_of(accepted.peer)
        if role is Role.UNPRIVILEGED:
            raise ProblemDetails(
                "forbidden", "Only root and members of the group device-auth-client may ask."
            )
        methods = self._routes.get(request.path)
        if methods is None:
            raise ProblemDetails("not-found", request.path)
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
            raise ProblemDetails("method-not-allowed", f"{request.path} takes {allowed}.", {"Allow": allowed})
        if role < route.role:
            raise ProblemDetails(
                "forbidden", "Only root and members of the group device-auth-admin may do this."
            )
        return route.answer(accepted, request)

    # -- the routes

    def _status(self, accepted: Connection, request: HttpRequest) -> HttpReply:
        _read_query(request, set())
        fields = self._read_status(self._feed.look(), accepted.peer)
        if request.headers.get("accept") != "text/plain":
            return _reply(HTTPStatus.OK, fields)
        text = (status_text(fields) + "\n").encode()
        return HttpReply(HTTPStatus.OK, text, {"Content-Type": "text/plain; charset=utf-8"})

    def _health(self, _accepted: Connection, request: HttpRequest) -> HttpReply:
        """Answer from what is known at this moment, so that neither a recovery nor an end of the token comes late."""
        _read_query(request, set())
        snapshot = self._feed.look()
        health = health_of(
            snapshot.view.state,
            snapshot.view.trouble,
            snapshot.link,
            self._date(snapshot.changed_at),
            has_fresh_token=self._is_good(snapshot.grant, MIN_LIFETIME),
        )
        status = HTTPStatus.OK if health.reason is None else HTTPStatus.SERVICE_UNAVAILABLE
        return _reply(status, health_fields(health))

    def _token(self, _accepted: Connection, request: HttpRequest) -> HttpReply:
        asked = _read_query(request, {"min_lifetime"}).get("min_lifetime")
        if asked is not None and re.fullmatch(r"[0-9]{1,9}", asked) is None:
            raise ProblemDetails("bad-request", "min_lifetime is not a number of whole seconds.")
        return self._find_token(MIN_LIFETIME if asked is None else Seconds(int(asked)))

    def _rejected(self, _accepted: Connection, request: HttpRequest) -> HttpReply:
        rejected = _read_rejected(request)
        snapshot = self._feed.look()
        if not _has(snapshot, rejected):
            return self._find_token(MIN_LIFETIME)
        wait = FRESH_FOR - (
            0 if snapshot.grant is None else refresh.age_of(snapshot.grant, self._clock.now())
        )
        if wait <= 0:
            forced = self._force(rejected, snapshot)
            snapshot = self._wait_for_another(rejected, forced)
            wait = later(forced.at, FRESH_FOR) - self._clock.now()
        _check_link(snapshot)
        if snapshot.grant is None:
            raise self._no_token(snapshot, self._next_refresh(snapshot))
        if _has(snapshot, rejected):
            raise self._no_token(snapshot, max(self._timeouts.retry_after, Seconds(wait)))
        return self._reply_token(snapshot.grant)

    def _events(self, accepted: Connection, request: HttpRequest) -> HttpReply:
        _read_query(request, set())
        headers = {"Content-Type": "text/event-stream"}
        if request.method == "HEAD":
            return HttpReply(HTTPStatus.OK, headers=headers)
        if not self.server.open_stream(accepted):
            raise _busy(f"The limit of {self._most_streams} event streams is reached.")
        return HttpReply(HTTPStatus.OK, headers=headers, pieces=self._follow(accepted))

    def _acting(self, name: str, act: Callable[[], None]) -> Callable[[Connection, HttpRequest], HttpReply]:
        def answer(accepted: Connection, request: HttpRequest) -> HttpReply:
            _read_query(request, set())
            log.info("%s is requested by uid %d", name, accepted.peer.uid)
            act()
            return HttpReply(HTTPStatus.ACCEPTED)

        return answer

    def _link(self, accepted: Connection, request: HttpRequest) -> HttpReply:
        wish = _read_wish(request)
        name, act = {
            "": ("link", self._actions.link),
            "again": ("another link", lambda: self._actions.link(again=True)),
            "adopt": ("adoption of the link", self._actions.adopt),
        }[wish]
        return self._acting(name, act)(accepted, request)

    def _seal(self, accepted: Connection, request: HttpRequest) -> HttpReply:
        name = ""

        def seal() -> None:
            nonlocal name
            try:
                name = self._actions.seal()
            except ConfigError as error:
                raise ProblemDetails("no-key", f"{error}. {error.hint}") from error
            except DeviceAuthError as error:
                raise ProblemDetails("storage", f"{error}. {error.hint}") from error

        reply = self._acting("sealing", seal)(accepted, request)
        if not name:
            raise ProblemDetails("not-linked", "No link is stored that could be sealed.")
        return reply

    # -- tokens

    def _find_token(self, min_lifetime: Seconds) -> HttpReply:
        snapshot = self._feed.look()
        if not self._is_good(snapshot.grant, min_lifetime):
            snapshot = self._feed.wait_for_token(self._actions, min_lifetime, self._timeouts.token)
        _check_link(snapshot)
        if snapshot.grant is None or not self._is_good(snapshot.grant, min_lifetime):
            raise self._no_token(snapshot, self._next_refresh(snapshot))
        return self._reply_token(snapshot.grant)

    def _force(self, rejected: Secret, snapshot: Snapshot) -> _ForcedRefresh:
        """Force a refresh, unless one was forced a short while ago; return the last one."""
        with self._lock:
            now = self._clock.now()
            if self._forced is None or now >= later(self._forced.at, FRESH_FOR):
                self._forced = _ForcedRefresh(now, snapshot.refreshes)
                self._actions.reject_token(rejected.reveal())
            return self._forced

    def _wait_for_another(self, rejected: Secret, forced: _ForcedRefresh) -> Snapshot:
        """Wait until there is another token, or the forced refresh has ended."""
        until = later(self._clock.now(), self._timeouts.token)
        snapshot = self._feed.look()
        while snapshot.refreshes <= forced.refreshes and _has(snapshot, rejected):
            newer = self._feed.wait(snapshot.number, Seconds(until - self._clock.now()))
            if newer.number == snapshot.number:
                break
            snapshot = newer
        return snapshot

    def _left(self, grant: TokenGrant) -> Seconds:
        return Seconds(grant.expires_at - self._clock.now())

    def _is_good(self, grant: TokenGrant | None, min_lifetime: Seconds) -> bool:
        return grant is not None and refresh.lasts(grant, min_lifetime, self._clock.now())

    def _reply_token(self, grant: TokenGrant) -> HttpReply:
        left = max(0, int(self._left(grant)))
        token = AccessToken(grant.access_token, self._date(grant.expires_at), left)
        return _reply(HTTPStatus.OK, token_fields(token))

    def _no_token(self, snapshot: Snapshot, wait: Seconds) -> ProblemDetails:
        view = snapshot.view
        phrase = phrase_of(view.state, view.trouble, is_checking=view.is_checking)
        is_well = view.trouble is Trouble.NONE
        why = "No refresh has brought one in time." if is_well else f"{phrase.sentence} {phrase.next_step}"
        return ProblemDetails("no-fresh-token", why, _retry_after(wait))

    def _next_refresh(self, snapshot: Snapshot) -> Seconds:
        """Return the wait for the next refresh, at most that after a failure: a person may mend what is wrong meanwhile."""
        due_in = Seconds(snapshot.refresh_at - self._clock.now())
        return min(due_in, MOST_REFRESH_WAIT) if 0 < due_in < FOREVER else self._timeouts.retry_after

    # -- status and events

    def _read_status(self, snapshot: Snapshot, caller: Caller) -> dict[str, object]:
        view, link = snapshot.view, snapshot.link
        timed = view.code_pair or snapshot.grant
        status = status_fields(
            SpeakerStatus(
                state=view.state,
                trouble=view.trouble,
                since=snapshot.since,
                hint=view.hint,
                expires_at=None if timed is None else self._date(timed.expires_at),
                account=view.account,
                account_id=view.account_id,
                linked_at=None if link is None else link.linked_at,
                dialect=None if link is None else link.dialect,
                version=__version__,
                name=self._name(),
                handed_over=hand_over_of(link),
                lasts=not view.doubt,
                is_checking=view.is_checking,
            )
        )
        if self._permissions.role_of(caller) is Role.ADMINISTRATOR:
            status |= self._read_code(view)
        return status

    def _read_code(self, view: View) -> dict[str, object]:
        pair = view.code_pair
        if pair is None:
            return {}
        return {
            "code": {
                "user_code": pair.user_code,
                "verification_uri": pair.verification_uri,
                "verification_uri_complete": pair.prefilled_uri,
                "expires_in": max(0, int(pair.expires_at - self._clock.now())),
                "interval": int(pair.interval),
            }
        }

    def _follow(self, accepted: Connection) -> Generator[bytes, None, None]:
        return stream(
            self._feed.follow(accepted.socket),
            lambda snapshot: (snapshot.view, snapshot.since, snapshot.grant, snapshot.link),
            lambda snapshot, _: write_event(
                write_json(self._read_status(snapshot, accepted.peer)), str(snapshot.number), "status"
            ),
        )

    def _date(self, moment: Monotonic) -> UnixTime:
        return UnixTime(self._clock.wall() + moment - self._clock.now())


def _reply(
    status: HTTPStatus, fields: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> HttpReply:
    body = (write_json(fields) + "\n").encode()
    return HttpReply(status, body, headers or {"Content-Type": "application/json"})


def _has(snapshot: Snapshot, access_token: Secret) -> bool:
    return snapshot.grant is not None and snapshot.grant.access_token == access_token


def _read_query(request: HttpRequest, names: set[str]) -> dict[str, str]:
    """Read the query, and refuse unknown names: a mistyped one would go unnoticed."""
    try:
        pairs = parse_qsl(
            request.query, keep_blank_values=True, strict_parsing=bool(request.query), max_num_fields=8
        )
    except ValueError:
        raise ProblemDetails("bad-request", "The query is malformed.") from None
    found = dict(pairs)
    if len(found) < len(pairs) or not names >= found.keys():
        raise ProblemDetails("bad-request", f"The query may hold {', '.join(sorted(names)) or 'nothing'}.")
    return found


def _read_wish(request: HttpRequest) -> str:
    """Return ``again`` for a new link although there is one, ``adopt`` for another unit's, or nothing."""
    if not request.body:
        _read_query(request, set())
        return ""
    fields = _read_fields(request)
    wishes = [name for name, is_wanted in fields.items() if is_wanted is True]
    is_known = fields.keys() <= {"again", "adopt"} and all(isinstance(it, bool) for it in fields.values())
    if not is_known or len(wishes) > 1:
        raise ProblemDetails("bad-request", 'The body is not of the form {"again": true} or {"adopt": true}.')
    return wishes[0] if wishes else ""


def _read_rejected(request: HttpRequest) -> Secret:
    token = _read_fields(request).get("access_token")
    if not isinstance(token, str):
        raise ProblemDetails("bad-request", 'The body is not of the form {"access_token": "…"}.')
    return Secret(token)


def _read_fields(request: HttpRequest) -> dict[str, object]:
    """Read the body, which must be a JSON object. The refusal repeats no part of it: it may be a secret."""
    _read_query(request, set())
    if request.media_type != "application/json":
        raise ProblemDetails("unsupported-media-type", "Send Content-Type: application/json.")
    try:
        fields = json.loads(request.body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ProblemDetails("bad-request", "The body is not a JSON object.")
    return fields


def _check_link(snapshot: Snapshot) -> None:
    """Raise ProblemDetails if there is no link, or one that brings no tokens."""
    link = snapshot.link
    if link is None and snapshot.view.state is StateWord.STARTING:
        raise _busy(f"{STATES[StateWord.STARTING].sentence} {snapshot.view.hint}".strip())
    if link is None:
        phrase = STATES[StateWord.UNLINKED]
        raise ProblemDetails("not-linked", f"{phrase.sentence} {snapshot.view.hint or phrase.next_step}")
    match link.mark:
        case None:
            return
        case Mark.REVOKED:
            phrase = TROUBLES[Trouble.REVOKED]
            raise ProblemDetails("revoked", f"{phrase.sentence} {phrase.next_step}")
        case Mark.COPIED:
            phrase = TROUBLES[Trouble.COPIED]
            raise ProblemDetails("not-linked", f"{phrase.sentence} {phrase.next_step}")
        case Mark.MISCONFIGURED:
            raise ProblemDetails(
                "not-linked",
                "The provider no longer accepts the client of the link. Run: device-auth config check",
            )
        case Mark.HANDED_OVER:
            whom = f" ({link.handed_over_to})" if link.handed_over_to else ""
            raise ProblemDetails(
                "not-linked",
                f"The link was handed over to another client{whom}. Link again: device-auth link",
            )
        case _:
            assert_never(link.mark)


def _busy(detail: str) -> ProblemDetails:
    return ProblemDetails("busy", detail, _retry_after(Seconds(1)))


def _retry_after(wait: Seconds) -> dict[str, str]:
    return {"Retry-After": str(ceil(wait))}


def _refuse(error: HttpError) -> HttpReply:
    """Write the reply to an error, of a route or of the connection."""
    if isinstance(error, ProblemDetails):
        return error.as_reply()
    detail = f"{error.reason[:1].upper()}{error.reason[1:]}."
    if error.status is HTTPStatus.SERVICE_UNAVAILABLE:
        return _busy(detail).as_reply()
    names = {status: name for name, (status, _) in PROBLEMS.items()}
    names[HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE] = "too-large"
    name = names.get(error.status, "bad-request")
    return ProblemDetails(name, detail, status=error.status).as_reply()
