"""Accepts connections and serves each on a thread of its own; while there is none, nothing runs.

One thread that has served a connection waits for the next: to start one takes longer than to answer a request.
"""

import logging
import select
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from device_auth.core.models import Seconds, later
from device_auth.core.ports import Clock
from device_auth.http.admission import ConnectionLimiter, ConnectionLimits
from device_auth.http.connection import HttpConnection, HttpError, HttpReply, HttpRequest

log: Final = logging.getLogger(__name__)

RETRY_AFTER: Final = Seconds(1)
"""Until the next attempt when the system has no more connections."""

AT_ONCE: Final = Seconds(0)

MOST_IDLE: Final = 1
"""Threads that wait for the next connection."""

LOOKS_EVERY: Final = Seconds(0.1)
"""How often ``hold`` looks again: what it waits for may become an event stream."""

T = TypeVar("T")


class HttpServer(Generic[T]):
    """Serves connections until it is closed.

    Args:
        name: of its threads.
        clock: for deadlines and rates.
        identify: makes the connection of a socket and the client's address; may raise OSError.
        answer: answers a request; may raise HttpError.
        refuse: writes the reply to an error on a connection, and to a request if it could be read; None for no reply.
        admission: how many connections.
        keep_alive: a connection may have more than one request.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        identify: Callable[[socket.socket, Any], HttpConnection[T]],
        answer: Callable[[HttpConnection[T], HttpRequest], HttpReply],
        refuse: Callable[[HttpError, HttpConnection[T], HttpRequest | None], HttpReply | None],
        admission: ConnectionLimits,
        keep_alive: bool = False,
    ) -> None:
        self._name = name
        self._clock = clock
        self._identify = identify
        self._route = answer
        self._refuse = refuse
        self._keep_alive = keep_alive
        self._limiter: ConnectionLimiter[HttpConnection[T]] = ConnectionLimiter(admission)
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._serving: set[threading.Thread] = set()
        self._idle = 0
        self._next: SimpleQueue[HttpConnection[T] | None] = SimpleQueue()
        self._stop: socket.socket | None = None
        self._is_holding = False
        self.is_closing = False

    def start(self, listeners: Sequence[socket.socket]) -> None:
        """Start to accept connections, also after ``hold``; the sockets stay open when it ends."""
        stopped, self._stop = socket.socketpair()
        self._is_holding = False
        for listener in listeners:
            listener.setblocking(False)  # a connection may be gone again before it is accepted
        self._thread = threading.Thread(
            target=self._accept_all, args=(listeners, stopped), name=self._name, daemon=True
        )
        self._thread.start()

    def hold(self, within: Seconds) -> None:
        """Leave new connections in the kernel's queue until ``start``, and have every request that has come answered.

        Args:
            within: how long to wait for the answers altogether; event streams are not waited for.
        """
        until = later(self._clock.now(), within)
        self._is_holding = True
        self._end_accepting()
        with self._left:
            while self._clock.now() < until and self._has_requests():
                self._left.wait(LOOKS_EVERY)

    def close(self, within: Seconds = AT_ONCE) -> None:
        """Stop accepting and cut every connection; wait for their threads at most ``within`` altogether."""
        until = later(self._clock.now(), within)
        with self._lock:
            self.is_closing = True
            for waiting in self._limiter.waiting:
                waiting.socket.close()
            self._limiter.waiting.clear()
            for active in self._limiter.active:
                active.cut()
            serving = list(self._serving)
            for _ in range(self._idle):
                self._next.put(None)
            self._idle = 0
        self._end_accepting()
        for thread in serving:
            thread.join(max(0.0, until - self._clock.now()))

    def _end_accepting(self) -> None:
        if self._stop is None or self._thread is None:
            return
        self._stop.close()
        self._thread.join()
        self._stop = self._thread = None

    def _has_requests(self) -> bool:
        """End the connections that wait for another request, and return whether any but an event stream is left."""
        left = [each for each in self._limiter.active if not each.is_streaming]
        for each in left:
            if each.is_idle:
                each.cut(socket.SHUT_RD)  # a request that is there already is still answered
        return bool(left)

    def open_stream(self, accepted: HttpConnection[T]) -> bool:
        """Let a connection become an event stream, and return whether it may."""
        with self._lock:
            may = self._limiter.open_stream(accepted)
            self._cut_evicted()
            self._begin(self._limiter.admit())
            return may

    # -- accepting

    def _accept_all(self, listeners: Sequence[socket.socket], until: socket.socket) -> None:
        stopped, ready = select.poll(), select.poll()
        by_number = {listener.fileno(): listener for listener in listeners}
        for number in by_number:
            ready.register(number, select.POLLIN)
        with until:
            for poll in (stopped, ready):
                poll.register(until, select.POLLIN)
            while not (self.is_closing or self._is_holding):
                for number, _ in ready.poll():
                    if number in by_number and self._wait_for_rate(stopped):
                        self._accept(by_number[number], stopped)

    def _wait_for_rate(self, stopped: select.poll) -> bool:
        """Leave the next connection in the kernel's queue until there may be one more; return whether there may."""
        rates = (self._limiter.rate, self._limiter.refusals)
        while wait := max(rate.due_in(self._clock.now()) for rate in rates):
            if stopped.poll(1000 * wait):
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
        except OSError as error:
            log.warning("cannot identify the connecting process: %s", error)
            connection.close()
        else:
            self._admit(accepted)

    def _admit(self, accepted: HttpConnection[T]) -> None:
        with self._lock:
            if self.is_closing:
                accepted.socket.close()
                return
            status = self._limiter.enter(accepted, self._clock.now())
            self._cut_evicted()
            admitted = self._limiter.admit()
            refused = self._limiter.overflow() if status is None else accepted
            rate = self._limiter.rate if status is None else self._limiter.refusals
            rate.take(self._clock.now())
            for idle in self._limiter.take_idle():
                idle.cut(socket.SHUT_RD)  # a request that is there already is still answered
            self._begin(admitted)
        if refused is not None:
            error = HttpError(status or HTTPStatus.SERVICE_UNAVAILABLE, "too many connections wait already")
            refused.refuse(self._refuse(error, refused, None))

    def _cut_evicted(self) -> None:
        for evicted in self._limiter.evicted:
            evicted.cut()
        self._limiter.evicted.clear()

    def _begin(self, admitted: list[HttpConnection[T]]) -> None:
        for accepted in admitted:
            if self._idle:
                self._idle -= 1
                self._next.put(accepted)
                continue
            name = f"{self._name} connection"
            thread = threading.Thread(target=self._serve_one_by_one, args=(accepted,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                log.warning("cannot serve a connection: %s", error)
                accepted.socket.close()
                self._limiter.leave(accepted)
            else:
                self._serving.add(thread)

    # -- one connection

    def _serve_one_by_one(self, first: HttpConnection[T]) -> None:
        accepted: HttpConnection[T] | None = first
        try:
            while accepted is not None:
                self._serve(accepted)
                accepted = self._next.get() if self._may_wait() else None
        finally:
            with self._lock:
                self._serving.discard(threading.current_thread())

    def _may_wait(self) -> bool:
        with self._lock:
            may = self._idle < MOST_IDLE and not self.is_closing
            self._idle += may
            return may

    def _serve(self, accepted: HttpConnection[T]) -> None:
        try:
            with accepted.socket, suppress(OSError):  # a client may leave at any time
                self._exchange(accepted)
        finally:
            with self._left:
                self._limiter.leave(accepted)
                self._begin(self._limiter.admit())  # none waits once it closes
                self._left.notify_all()

    def _exchange(self, accepted: HttpConnection[T]) -> None:
        stays = True
        while stays and accepted.wait():
            accepted.is_idle = False
            request: HttpRequest | None = None
            try:
                request = accepted.read()
            except HttpError as error:
                reply = self._refuse(error, accepted, None)
            else:
                reply = None if request is None else self._answer(accepted, request)
            if reply is None:
                return
            stays = request is not None and request.keeps_open and self._keep_alive and reply.pieces is None
            stays = stays and self._may_stay(accepted)
            accepted.write(reply, to=request, is_last=not stays)
        if not stays:
            accepted.end()

    def _answer(self, accepted: HttpConnection[T], request: HttpRequest) -> HttpReply | None:
        try:
            return self._route(accepted, request)
        except HttpError as error:
            return self._refuse(error, accepted, request)
        except Exception:
            # a bug: one answer is lost, and the next may be well
            log.exception("cannot answer a request to %s", request.path)
            bug = HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "the log says more")
            return self._refuse(bug, accepted, request)

    def _may_stay(self, accepted: HttpConnection[T]) -> bool:
        with self._lock:
            return not self._is_holding and self._limiter.may_stay(accepted)
