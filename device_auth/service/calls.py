"""Requests to the provider: one under way at a time, each on a worker thread, none waited for beyond 20 s.

The worker is a daemon thread that nothing ever joins: a thread stuck in a name look-up cannot be interrupted,
only left behind.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar, assert_never

from device_auth.core.models import (
    NEVER,
    Answer,
    CodePair,
    Monotonic,
    Pending,
    Profile,
    Refusal,
    Seconds,
    SlowDown,
    TokenGrant,
    Unclear,
    Unreachable,
    later,
)
from device_auth.core.policy import CALL_BOUND
from device_auth.core.values import dataclass

log: Final = logging.getLogger(__name__)

Q = TypeVar("Q")


@dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[Q]):
    """One request to the provider.

    Attributes:
        question: what is asked.
        send: makes the request and waits for its answer.
        bound: how long it is waited for.
    """

    question: Q
    send: Callable[[], Answer]
    bound: Seconds = CALL_BOUND


@dataclass(frozen=True, slots=True)
class CallEnded(Generic[Q]):
    """A request was answered, perhaps after it was abandoned."""

    call: Call[Q]
    answer: Answer


@dataclass(frozen=True, slots=True)
class CallBroke:
    """A bug on the worker."""

    error: BaseException


class Calls(Generic[Q]):
    """The request under way, and those that wait for their turn.

    Args:
        report: hears how a request ended; called on the worker.
        close: ends the request under way, from the caller's thread.
        now: returns the moment.
    """

    def __init__(
        self,
        report: Callable[[CallEnded[Q] | CallBroke], None],
        close: Callable[[], None],
        now: Callable[[], Monotonic],
    ) -> None:
        self._report = report
        self._close = close
        self._now = now
        self._waiting: deque[Call[Q]] = deque()
        self._under_way: Call[Q] | None = None
        self.until: Monotonic = NEVER

    def start(self, call: Call[Q]) -> None:
        """Make the request as soon as no other is under way."""
        self._waiting.append(call)
        self._start_next()

    def end(self, call: Call[Q]) -> bool:
        """Note that a request has ended; return whether it was still waited for."""
        if call is not self._under_way:
            return False
        self._under_way, self.until = None, NEVER
        self._start_next()
        return True

    def abandon(self) -> Call[Q] | None:
        """Wait no longer for the request under way, and return it."""
        call = self._under_way
        self._under_way, self.until = None, NEVER
        self._close()
        self._start_next()
        return call

    def drop(self, is_unwanted: Callable[[Q], bool]) -> None:
        """Drop every request whose answer nobody wants any more."""
        self._waiting = deque(call for call in self._waiting if not is_unwanted(call.question))
        if self._under_way is not None and is_unwanted(self._under_way.question):
            self.abandon()

    def _start_next(self) -> None:
        if self._under_way is not None or not self._waiting:
            return
        call = self._under_way = self._waiting.popleft()
        self.until = later(self._now(), call.bound)
        threading.Thread(target=self._work, args=(call,), name="request", daemon=True).start()

    def _work(self, call: Call[Q]) -> None:
        try:
            self._report(CallEnded(call, call.send()))
        except BaseException as error:  # noqa: BLE001  a bug on the worker must end the loop, not hang it
            self._report(CallBroke(error))


def log_answer(asked: str, answer: Answer) -> None:
    """Log the outcome of a request in a line: no code, no token, and nothing in the provider's own words."""
    match answer:
        case CodePair():
            log.info("%s: a code for %.0f s, polled every %.0f s", asked, answer.expires_in, answer.interval)
        case TokenGrant():
            log.info("%s: an access token for %.0f s", asked, answer.expires_in)
            if answer.odd_fields:
                log.warning("%s: accepted, with unexpected fields: %s", asked, ", ".join(answer.odd_fields))
        case Profile():
            log.info("%s: known", asked)
        case Pending():
            log.info("%s: not approved yet", asked)
        case SlowDown():
            log.info("%s: the provider requests slower polls", asked)
        case Refusal():
            log.warning("%s: refused, %s", asked, answer.error or answer.trouble)
        case Unclear() | Unreachable():
            log.warning("%s: no usable answer, %s", asked, answer.what)
        case _:
            assert_never(answer)
