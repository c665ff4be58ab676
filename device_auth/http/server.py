"""Accepts connections and serves each on a thread of its own; while there is none, nothing runs."""

import logging
import select
import socket
import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

from device_auth.core.models import Seconds, later
from device_auth.core.ports import Clock
from device_auth.http.admission import ConnectionLimiter, ConnectionLimits, Place
from device_auth.http.connection import (
    HttpConnection,
    HttpError,
    HttpReply,
    HttpRequest,
    ReadLimits,
    is_gone,
    write_reply,
)

log: Final = logging.getLogger(__name__)

RETRY_AFTER: Final = Seconds(1)
"""Until the next attempt when the system has no more connections."""

AT_ONCE: Final = Seconds(0)

T = TypeVar("T")


class AcceptedConnection(Place, Generic[T]):
    """One connection.

    Args:
        connection: the socket.
        peer: what its server knows of the client.
        owner: whose share it counts to.
        is_idle: it may be closed for another before its first request begins.
    """

    def __init__(self, connection: socket.socket, peer: T, owner: Hashable, *, is_idle: bool = False) -> None:
        super().__init__(owner, is_idle=is_idle)
        self.connection = connection
        self.peer = peer
        self.thread: threading.Thread | None = None

    def is_gone(self) -> bool:
        """Return whether the client has closed its end."""
        return is_gone(self.connection)

    def cut(self, how: int = socket.SHUT_RDWR) -> None:
        """End waiting for the client. Past TLS, which refuses while another thread reads."""
        with suppress(OSError):  # it may have ended by itself
            socket.socket.shutdown(self.connection, how)


class HttpServer(Generic[T]):
    """Serves connections until it is closed.

    Args:
        name: of its threads.
        clock: for deadlines and rates.
        identify: takes a connection and the client's address; may raise OSError, or HttpError to refuse.
        answer: answers a request; may raise HttpError.
        refuse: writes the reply to an error; None for no reply.
        admission: how many connections.
        limits: of each request and reply.
        keep_alive: a connection may have more than one request.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        identify: Callable[[socket.socket, Any], AcceptedConnection[T]],
        answer: Callable[[AcceptedConnection[T], HttpRequest], HttpReply],
        refuse: Callable[[HttpError], HttpReply | None],
        admission: ConnectionLimits,
        limits: ReadLimits,
        keep_alive: bool = False,
    ) -> None:
        self._name = name
        self._clock = clock
        self._identify = identify
        self._route = answer
        self._refuse = refuse
        self._limits = limits
        self._keep_alive = keep_alive
        self._limiter: ConnectionLimiter[AcceptedConnection[T]] = ConnectionLimiter(admission)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped, self._stop = socket.socketpair()
        self.is_closing = False

    def start(self, listeners: Sequence[socket.socket]) -> None:
        """Start to accept connections; the sockets stay open when it ends."""
        for listener in listeners:
            listener.setblocking(False)  # a connection may be gone again before it is accepted
        self._thread = threading.Thread(
            target=self._accept_all, args=(listeners,), name=self._name, daemon=True
        )
        self._thread.start()

    def close(self, within: Seconds = AT_ONCE) -> None:
        """Accept no more and cut every connection; wait for their threads at most ``within`` altogether."""
        until = later(self._clock.now(), within)
        with self._lock:
            self.is_closing = True
            for waiting in self._limiter.waiting:
                waiting.connection.close()
            self._limiter.waiting.clear()
            active = list(self._limiter.active)
            for each in active:
                each.cut()
        self._stop.close()
        if self._thread is not None:
            self._thread.join()
        self._stopped.close()
        for each in active:
            if each.thread is not None:
                each.thread.join(max(0.0, until - self._clock.now()))

    def open_stream(self, accepted: AcceptedConnection[T]) -> bool:
        """Let a connection become an event stream, and return whether it may."""
        with self._lock:
            may = self._limiter.open_stream(accepted)
            self._begin(self._limiter.seat())
            return may

    # -- accepting

    def _accept_all(self, listeners: Sequence[socket.socket]) -> None:
        stopped, ready = select.poll(), select.poll()
        by_number = {listener.fileno(): listener for listener in listeners}
        for number in by_number:
            ready.register(number, select.POLLIN)
        for poll in (stopped, ready):
            poll.register(self._stopped, select.POLLIN)
        while not self.is_closing:
            for number, _ in ready.poll():
                if number in by_number and self._wait_for_rate(stopped):
                    self._accept(by_number[number], stopped)

    def _wait_for_rate(self, stopped: select.poll) -> bool:
        """Leave the next connection in the kernel's queue until there may be one more; return whether there may."""
        rate = self._limiter.rate
        while not rate.take(self._clock.now()):
            if stopped.poll(1000 * rate.due_in(self._clock.now())):
                return False
        return True

    def _accept(self, listener: socket.socket, stopped: select.poll) -> None:
        try:
            connection, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            log.warning("cannot accept a connection: %s", error)
            stopped.poll(1000 * RETRY_AFTER)
            return
        try:
            accepted = self._identify(connection, address)
        except HttpError as error:
            self._turn_away(connection, error)
        except OSError as error:
            log.warning("cannot identify the connecting process: %s", error)
            connection.close()
        else:
            self._admit(accepted)

    def _admit(self, accepted: AcceptedConnection[T]) -> None:
        with self._lock:
            if self.is_closing:
                accepted.connection.close()
                return
            status = self._limiter.enter(accepted, self._clock.now())
            seated = self._limiter.seat()
            refused = self._limiter.overflow() if status is None else accepted
            for idle in self._limiter.leavers():
                idle.cut(socket.SHUT_RD)  # a request that is there already is still answered
            self._begin(seated)
        if refused is not None:
            error = HttpError(status or HTTPStatus.SERVICE_UNAVAILABLE, "too many connections wait already")
            self._turn_away(refused.connection, error)

    def _begin(self, seated: list[AcceptedConnection[T]]) -> None:
        for accepted in seated:
            accepted.thread = threading.Thread(
                target=self._serve, args=(accepted,), name=f"{self._name} connection", daemon=True
            )
            try:
                accepted.thread.start()
            except RuntimeError as error:
                log.warning("cannot serve a connection: %s", error)
                accepted.connection.close()
                self._limiter.leave(accepted)

    def _turn_away(self, connection: socket.socket, error: HttpError) -> None:
        """Refuse a connection without a thread and without waiting for its request."""
        reply = self._refuse(error)
        with connection, suppress(OSError):
            connection.setblocking(False)
            if reply is not None:
                connection.send(write_reply(reply, is_last=True))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(self._limits.head)  # unread input would reset the connection

    # -- one connection

    def _serve(self, accepted: AcceptedConnection[T]) -> None:
        try:
            with accepted.connection, suppress(OSError):  # a client may leave at any time
                self._exchange(accepted, HttpConnection(accepted.connection, self._clock, self._limits))
        finally:
            with self._lock:
                self._limiter.leave(accepted)
                self._begin(self._limiter.seat())  # none waits once it closes

    def _exchange(self, accepted: AcceptedConnection[T], http: HttpConnection) -> None:
        stays = True
        while stays and http.wait():
            accepted.is_idle = False
            request: HttpRequest | None = None
            try:
                request = http.read()
            except HttpError as error:
                reply = self._refuse(error)
            else:
                reply = None if request is None else self._answer(accepted, request)
            if reply is None:
                return
            stays = request is not None and request.keeps_open and self._keep_alive and reply.pieces is None
            stays = stays and self._may_stay(accepted)
            http.write(reply, to=request, is_last=not stays)
        if not stays:
            http.end()

    def _answer(self, accepted: AcceptedConnection[T], request: HttpRequest) -> HttpReply | None:
        try:
            return self._route(accepted, request)
        except HttpError as error:
            return self._refuse(error)
        except Exception:
            # a bug: one answer is lost, and the next may be well
            log.exception("cannot answer a request to %s", request.path)
            return self._refuse(HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "the log says more"))

    def _may_stay(self, accepted: AcceptedConnection[T]) -> bool:
        with self._lock:
            return self._limiter.may_stay(accepted)
