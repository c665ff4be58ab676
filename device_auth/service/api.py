"""The socket API: status, tokens, events and actions for other programs on this machine.

Whoever may connect may ask; the kernel says who it is, and the gate what they get. The access token is given out
here; the refresh token is not even looked at.
"""

import json
import logging
import re
import select
import socket
import threading
from collections.abc import Callable, Generator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple, assert_never
from urllib.parse import parse_qsl

from device_auth import __version__
from device_auth.core.models import Mark, Monotonic, Seconds, Secret, TokenGrant, UnixTime, View, later
from device_auth.core.ports import Clock
from device_auth.core.public import AccessToken, SpeakerStatus, hand_over_of, status_fields, token_fields
from device_auth.core.states import STATES, TROUBLES, StateWord, Trouble
from device_auth.service.callers import Caller, Gate, Role, read_caller
from device_auth.service.exchange import (
    HttpConnection,
    HttpReply,
    HttpRequest,
    MalformedRequest,
    ReadLimits,
    octets_of,
)
from device_auth.service.reception import AcceptedConnection, ConnectionLimiter, ConnectionLimits, OwnListener
from device_auth.service.status_feed import Actions, Snapshot, StatusFeed

log: Final = logging.getLogger(__name__)

MIN_LIFETIME: Final = Seconds(60)
"""What is left of a token at least, unless another length is asked for."""

FRESH: Final = Seconds(30)
"""A token younger than this is as good as another refresh would bring; and no refresh is forced more often."""

STRANGERS: Final = "strangers"
"""All who may do nothing share one share."""

PROBLEM: Final = "urn:device-auth:"
"""How the ``type`` of each problem begins. Source: RFC 9457."""


class ApiTimeouts(NamedTuple):
    """How long things may take.

    Attributes:
        token: the wait for a refresh; more than the 20 s after which a request to the provider is given up.
        heartbeat: the longest silence of an event stream.
        retry_after: what is asked of who could not be given a token.
    """

    token: Seconds = Seconds(25)
    heartbeat: Seconds = Seconds(15)
    retry_after: Seconds = Seconds(10)


BOUNDS: Final = ReadLimits()
ROOM: Final = ConnectionLimits()
PATIENCE: Final = ApiTimeouts()


class ProblemDetails(Exception):
    """A request that cannot be granted.

    Args:
        status: how that is said in HTTP.
        name: how programs tell it from others.
        title: the same for people; always the same for one name.
        detail: what it was this time, and what to do.
        headers: what the reply's header says besides.
    """

    def __init__(
        self,
        status: HTTPStatus,
        name: str,
        title: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.title = title
        self.detail = detail
        self.headers = headers or {}

    def as_reply(self) -> HttpReply:
        """Say it as RFC 9457 has it."""
        fields = {
            "type": PROBLEM + self.name,
            "title": self.title,
            "status": self.status.value,
            "detail": self.detail,
        }
        return _reply(self.status, fields, {"Content-Type": "application/problem+json", **self.headers})


class _ApiRoute(NamedTuple):
    """Who may ask, and what answers."""

    role: Role
    answer: Callable[[AcceptedConnection, HttpRequest], HttpReply]


class _ForcedRefresh(NamedTuple):
    """The last refresh that was forced.

    Attributes:
        at: when.
        refreshes: how many refreshes had ended by then.
    """

    at: Monotonic
    refreshes: int


class Api:
    """Answers on the socket.

    Args:
        desk: where the news lies.
        actions: asks the loop to act.
        clock: tells both times.
        listener: a socket that listens already, which stays open; or where to make one.
        gate: who may do what.
        identify: asks who is at the other end of a connection; may raise OSError.
        bounds: how much a request may be, and how long it may take.
        room: how many connections at once.
        streams: how many of them may be event streams.
        patience: how long answers may take.

    Raises:
        StoreError: the socket cannot be made.
    """

    def __init__(
        self,
        desk: StatusFeed,
        actions: Actions,
        clock: Clock,
        *,
        listener: socket.socket | Path,
        gate: Gate,
        identify: Callable[[socket.socket], Caller] = read_caller,
        bounds: ReadLimits = BOUNDS,
        room: ConnectionLimits = ROOM,
        streams: int = 8,
        patience: ApiTimeouts = PATIENCE,
    ) -> None:
        self._desk = desk
        self._actions = actions
        self._clock = clock
        self._gate = gate
        self._bounds = bounds
        self._streams = streams
        self._patience = patience
        self._lock = threading.Lock()
        self._streaming: set[AcceptedConnection] = set()
        self._forced: _ForcedRefresh | None = None
        self._own = None
        if isinstance(listener, Path):
            self._own = OwnListener(listener)
            listener = self._own.listener
        self._reception = ConnectionLimiter(
            listener,
            self._attend,
            identify=identify,
            party_of=self._party_of,
            full=octets_of(_busy("Too many connections wait already.").as_reply(), is_last=True),
            room=room,
        )
        self._routes: dict[str, dict[str, _ApiRoute]] = {
            "/v1/status": {"GET": _ApiRoute(Role.READER, self._status)},
            "/v1/token": {"GET": _ApiRoute(Role.READER, self._token)},
            "/v1/token/rejected": {"POST": _ApiRoute(Role.READER, self._rejected)},
            "/v1/events": {"GET": _ApiRoute(Role.READER, self._events)},
            "/v1/link": {"POST": _ApiRoute(Role.ADMINISTRATOR, self._link)},
            "/v1/link/cancel": {
                "POST": _ApiRoute(Role.ADMINISTRATOR, self._acting("cancel", actions.cancel))
            },
            "/v1/unlink": {"POST": _ApiRoute(Role.ADMINISTRATOR, self._acting("unlink", actions.unlink))},
        }

    def start(self) -> None:
        """Begin to answer; returns at once."""
        self._reception.start()

    def close(self) -> None:
        """Answer no more: every connection is cut. What waits for news ends with the next."""
        self._reception.close()
        if self._own is not None:
            self._own.close()

    # -- one connection

    def _party_of(self, caller: Caller) -> int | str:
        return STRANGERS if self._gate.role_of(caller) is Role.STRANGER else caller.uid

    def _attend(self, visit: AcceptedConnection) -> None:
        exchange = HttpConnection(visit.connection, self._clock, self._bounds)
        try:
            while exchange.wait():
                visit.is_idle = False
                if not self._answer_one(exchange, visit):
                    exchange.end()
                    return
        finally:
            with self._lock:
                self._streaming.discard(visit)

    def _answer_one(self, exchange: HttpConnection, visit: AcceptedConnection) -> bool:
        """Read a request and answer it; say whether another may follow."""
        try:
            request = exchange.read()
        except MalformedRequest as error:
            exchange.write(_unreadable(error).as_reply(), to=None, is_last=True)
            return False
        if request is None:
            return False
        reply = self._answer(visit, request)
        stays = request.keeps_open and reply.pieces is None and self._reception.may_stay(visit)
        exchange.write(reply, to=request, is_last=not stays)
        return stays

    def _answer(self, visit: AcceptedConnection, request: HttpRequest) -> HttpReply:
        try:
            return self._find(visit, request).answer(visit, request)
        except ProblemDetails as problem:
            return problem.as_reply()
        except Exception:
            # a bug: one answer is lost, and the next may be well
            log.exception("a request to %s broke", request.path)
            return _INTERNAL.as_reply()

    def _find(self, visit: AcceptedConnection, request: HttpRequest) -> _ApiRoute:
        role = self._gate.role_of(visit.caller)
        if role is Role.STRANGER:
            raise _forbidden("Only root and members of the group device-auth-client may ask.")
        methods = self._routes.get(request.path)
        if methods is None:
            raise ProblemDetails(HTTPStatus.NOT_FOUND, "not-found", "There is nothing here", request.path)
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
            raise ProblemDetails(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This cannot be done here",
                f"{request.path} takes {allowed}.",
                {"Allow": allowed},
            )
        if role < route.role:
            raise _forbidden("Only root and members of the group device-auth-admin may do this.")
        return route

    # -- what is answered

    def _status(self, visit: AcceptedConnection, request: HttpRequest) -> HttpReply:
        _read_query(request, set())
        return _reply(HTTPStatus.OK, self._read_status(self._desk.look(), visit))

    def _token(self, _visit: AcceptedConnection, request: HttpRequest) -> HttpReply:
        asked = _read_query(request, {"min_lifetime"}).get("min_lifetime")
        if asked is not None and re.fullmatch(r"[0-9]{1,9}", asked) is None:
            raise _bad_request("min_lifetime is not a number of whole seconds.")
        return self._give_token(MIN_LIFETIME if asked is None else Seconds(int(asked)))

    def _give_token(self, min_lifetime: Seconds) -> HttpReply:
        news = self._desk.look()
        if not self._is_good(news.grant, min_lifetime):
            news = self._desk.wait_for_token(self._actions, min_lifetime, self._patience.token)
        _check_link(news)
        if news.grant is None or not self._is_good(news.grant, min_lifetime):
            raise self._no_token(news)
        return self._reply_token(news.grant)

    def _rejected(self, _visit: AcceptedConnection, request: HttpRequest) -> HttpReply:
        rejected = _read_rejected(request)
        news = self._desk.look()
        if not _has(news, rejected):
            return self._give_token(MIN_LIFETIME)
        if news.grant is None or not self._is_fresh(news.grant):
            news = self._wait_for_another(rejected, self._force(rejected, news))
            _check_link(news)
            if news.grant is None or _has(news, rejected):
                raise self._no_token(news)
        return self._reply_token(news.grant)

    def _events(self, visit: AcceptedConnection, request: HttpRequest) -> HttpReply:
        _read_query(request, set())
        headers = {"Content-Type": "text/event-stream"}
        if request.method == "HEAD":
            return HttpReply(HTTPStatus.OK, headers=headers)
        with self._lock:
            # One that its client has left ends with its next heartbeat; until then it takes no other client's place.
            held = sum(_is_held(other.connection) for other in self._streaming)
            if held >= self._streams or len(self._streaming) >= 2 * self._streams:
                raise _busy(f"There are {self._streams} event streams already.")
            self._streaming.add(visit)
        self._reception.set_apart(visit)
        return HttpReply(HTTPStatus.OK, headers=headers, pieces=self._tell_events(visit))

    def _acting(
        self, name: str, act: Callable[[], None]
    ) -> Callable[[AcceptedConnection, HttpRequest], HttpReply]:
        def answer(visit: AcceptedConnection, request: HttpRequest) -> HttpReply:
            _read_query(request, set())
            _log_asked(name, visit)
            act()
            return HttpReply(HTTPStatus.ACCEPTED)

        return answer

    def _link(self, visit: AcceptedConnection, request: HttpRequest) -> HttpReply:
        again = _read_again(request)
        _log_asked("another link" if again else "link", visit)
        self._actions.link(again=again)
        return HttpReply(HTTPStatus.ACCEPTED)

    # -- tokens

    def _force(self, rejected: Secret, news: Snapshot) -> _ForcedRefresh:
        """Have a refresh forced, unless one was a short while ago; give the one that is under way or was."""
        with self._lock:
            now = self._clock.now()
            if self._forced is None or now >= later(self._forced.at, FRESH):
                self._forced = _ForcedRefresh(now, news.refreshes)
                self._actions.reject_token(rejected.reveal())
            return self._forced

    def _wait_for_another(self, rejected: Secret, forced: _ForcedRefresh) -> Snapshot:
        """Wait until there is another token, the forced refresh has ended, or there is no token to wait for."""
        until = later(self._clock.now(), self._patience.token)
        news = self._desk.look()
        while news.refreshes <= forced.refreshes and _has(news, rejected):
            newer = self._desk.wait(news.number, Seconds(until - self._clock.now()))
            if newer.number == news.number:
                break
            news = newer
        return news

    def _left(self, grant: TokenGrant) -> Seconds:
        return Seconds(grant.expires_at - self._clock.now())

    def _is_fresh(self, grant: TokenGrant) -> bool:
        return grant.expires_in - self._left(grant) < FRESH

    def _is_good(self, grant: TokenGrant | None, min_lifetime: Seconds) -> bool:
        """Return whether a token lives long enough, or as long as one just refreshed can."""
        if grant is None or self._left(grant) <= 0:
            return False
        return self._left(grant) >= min_lifetime or self._is_fresh(grant)

    def _reply_token(self, grant: TokenGrant) -> HttpReply:
        left = max(0, int(self._left(grant)))
        token = AccessToken(grant.access_token, self._date(grant.expires_at), left)
        return _reply(HTTPStatus.OK, token_fields(token))

    def _no_token(self, news: Snapshot) -> ProblemDetails:
        telling = TROUBLES[news.view.trouble]
        is_well = news.view.trouble is Trouble.NONE
        why = "No refresh has brought one in time." if is_well else f"{telling.sentence} {telling.next_step}"
        return ProblemDetails(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "no-fresh-token",
            "No fresh access token is to be had now",
            why,
            {"Retry-After": str(int(self._patience.retry_after))},
        )

    # -- status and events

    def _read_status(self, news: Snapshot, visit: AcceptedConnection) -> dict[str, object]:
        view, link = news.view, news.link
        ends = view.code_pair.expires_at if view.code_pair else news.grant.expires_at if news.grant else None
        status = status_fields(
            SpeakerStatus(
                state=view.state,
                trouble=view.trouble,
                since=news.since,
                hint=view.hint,
                expires_at=None if ends is None else self._date(ends),
                account=view.account,
                dialect=None if link is None else link.dialect,
                version=__version__,
                handed_over=hand_over_of(link),
            )
        )
        if self._gate.role_of(visit.caller) is Role.ADMINISTRATOR:
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

    def _tell_events(self, visit: AcceptedConnection) -> Generator[bytes, None, None]:
        """Return the present state, then each that differs, and a comment now and then in between.

        Source: WHATWG HTML, "Server-sent events".
        """
        news, told = self._desk.look(), None
        while True:
            telling = (news.view, news.since, news.grant, news.link)
            if telling == told:
                yield b":\n\n"
            else:
                told = telling
                status = json.dumps(self._read_status(news, visit))
                yield f"event: status\nid: {news.number}\ndata: {status}\n\n".encode()
            news = self._desk.wait(news.number, self._patience.heartbeat)

    def _date(self, moment: Monotonic) -> UnixTime:
        return UnixTime(self._clock.wall() + moment - self._clock.now())


def _reply(
    status: HTTPStatus, fields: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> HttpReply:
    body = (json.dumps(fields) + "\n").encode()
    return HttpReply(status, body, headers or {"Content-Type": "application/json"})


def _has(news: Snapshot, access_token: Secret) -> bool:
    return news.grant is not None and news.grant.access_token == access_token


def _is_held(connection: socket.socket) -> bool:
    """Return whether the other end is open; what is told of a closed one is told unasked (poll(2))."""
    state = select.poll()
    state.register(connection, 0)
    return not state.poll(0)


def _read_query(request: HttpRequest, names: set[str]) -> dict[str, str]:
    """Read the query; what is not known is refused, for whoever mistypes a name would not notice."""
    try:
        pairs = parse_qsl(
            request.query, keep_blank_values=True, strict_parsing=bool(request.query), max_num_fields=8
        )
    except ValueError:
        raise _bad_request("The query is malformed.") from None
    found = dict(pairs)
    if len(found) < len(pairs) or not names >= found.keys():
        raise _bad_request(f"The query may hold {', '.join(sorted(names)) or 'nothing'}.")
    return found


def _log_asked(what: str, visit: AcceptedConnection) -> None:
    log.info("%s is asked for by uid %d", what, visit.caller.uid)


def _read_again(request: HttpRequest) -> bool:
    """Read whether a link is asked for although there is one; without a body it is not."""
    if not request.body:
        _read_query(request, set())
        return False
    fields = _read_fields(request)
    again = fields.get("again", False)
    if not fields.keys() <= {"again"} or not isinstance(again, bool):
        raise _bad_request('The body is not of the form {"again": true}.')
    return again


def _read_rejected(request: HttpRequest) -> Secret:
    token = _read_fields(request).get("access_token")
    if not isinstance(token, str):
        # no part of it is repeated: it may be a secret
        raise _bad_request('The body is not of the form {"access_token": "…"}.')
    return Secret(token)


def _read_fields(request: HttpRequest) -> dict[str, object]:
    """Read the body; one that is no JSON object is refused, and no part of it is repeated: it may be a secret."""
    _read_query(request, set())
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ProblemDetails(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The body is of another type",
            "Say Content-Type: application/json.",
        )
    try:
        fields = json.loads(request.body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise _bad_request("The body is not a JSON object.")
    return fields


def _check_link(news: Snapshot) -> None:
    """Raise the problem that there is no link to have tokens from, if so."""
    link = news.link
    if link is None and news.view.state is StateWord.STARTING:
        raise _busy("The service is starting.")
    if link is None:
        telling = STATES[StateWord.UNLINKED]
        raise _not_linked(f"{telling.sentence} {telling.next_step}")
    match link.mark:
        case None:
            return
        case Mark.REVOKED:
            telling = TROUBLES[Trouble.REVOKED]
            raise ProblemDetails(
                HTTPStatus.GONE,
                "revoked",
                "The account no longer allows this speaker",
                f"{telling.sentence} {telling.next_step}",
            )
        case Mark.MISCONFIGURED:
            raise _not_linked(
                "The provider no longer accepts the client of the link. Run: device-auth config check"
            )
        case Mark.HANDED_OVER:
            whom = f" ({link.handed_over_to})" if link.handed_over_to else ""
            raise _not_linked(
                f"The link was handed over to another client{whom}. Link again: device-auth link"
            )
        case _:
            assert_never(link.mark)


def _not_linked(detail: str) -> ProblemDetails:
    return ProblemDetails(
        HTTPStatus.CONFLICT, "not-linked", "The speaker is not linked to an account", detail
    )


def _forbidden(detail: str) -> ProblemDetails:
    return ProblemDetails(HTTPStatus.FORBIDDEN, "forbidden", "This caller may not do that", detail)


def _bad_request(detail: str) -> ProblemDetails:
    return ProblemDetails(HTTPStatus.BAD_REQUEST, "bad-request", "The request makes no sense here", detail)


def _unreadable(error: MalformedRequest) -> ProblemDetails:
    name = _UNREADABLE.get(error.status, "bad-request")
    return ProblemDetails(
        error.status, name, "The request cannot be read", f"It is not as it should be: {error.why}."
    )


def _busy(detail: str) -> ProblemDetails:
    return ProblemDetails(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Not now", detail, {"Retry-After": "1"})


_UNREADABLE: Final = {
    HTTPStatus.REQUEST_TIMEOUT: "too-slow",
    HTTPStatus.LENGTH_REQUIRED: "length-required",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-large",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "too-large",
}

_INTERNAL: Final = ProblemDetails(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The service made a mistake", "Its log says more."
)
