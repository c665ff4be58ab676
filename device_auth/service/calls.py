"""Requests to the provider: one under way at a time, each on a worker thread, none waited for beyond 20 s.

The worker is a daemon thread that nothing ever joins: a thread stuck in a name look-up cannot be interrupted,
only left behind.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from device_auth.core.models import NEVER, Answer, CodePair, Monotonic, Seconds, later
from device_auth.core.values import dataclass

CALL_BOUND: Final = Seconds(20)
"""No request is waited for longer; requests' own time-outs do not bound a server that drips."""

K = TypeVar("K")


@dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[K]):
    """One request to the provider.

    Attributes:
        job: makes the request and waits for its answer.
        keeper: whose refresh it is; None for linking.
        pair: which code pair it polls for, if it does.
    """

    job: Callable[[], Answer]
    keeper: K | None = None
    pair: CodePair | None = None


@dataclass(frozen=True, slots=True)
class CallEnded(Generic[K]):
    """A request came to an answer, perhaps after it was abandoned."""

    call: Call[K]
    answer: Answer


@dataclass(frozen=True, slots=True)
class CallBroke:
    """A bug on the worker."""

    error: BaseException


class Calls(Generic[K]):
    """The request under way, and those that wait for their turn.

    Args:
        ended: where to leave what became of a request; called on the worker.
        close: ends what is under way, from this thread.
        now: tells the moment.
    """

    def __init__(
        self,
        ended: Callable[[CallEnded[K] | CallBroke], None],
        close: Callable[[], None],
        now: Callable[[], Monotonic],
    ) -> None:
        self._ended = ended
        self._close = close
        self._now = now
        self._waiting: deque[Call[K]] = deque()
        self._under_way: Call[K] | None = None
        self.until: Monotonic = NEVER

    def start(self, call: Call[K]) -> None:
        """Make the request as soon as no other is under way."""
        self._waiting.append(call)
        self._start_next()

    def end(self, call: Call[K]) -> bool:
        """Take note that a request has ended; say whether it had not been abandoned before."""
        if call is not self._under_way:
            return False
        self._under_way, self.until = None, NEVER
        self._start_next()
        return True

    def abandon(self) -> Call[K] | None:
        """Wait no longer for the request under way, and give it."""
        call = self._under_way
        self._under_way, self.until = None, NEVER
        self._close()
        self._start_next()
        return call

    def drop(self, is_unwanted: Callable[[Call[K]], bool]) -> None:
        """Let go of every request that nobody wants any more."""
        self._waiting = deque(call for call in self._waiting if not is_unwanted(call))
        if self._under_way is not None and is_unwanted(self._under_way):
            self.abandon()

    def _start_next(self) -> None:
        if self._under_way is not None or not self._waiting:
            return
        call = self._under_way = self._waiting.popleft()
        self.until = later(self._now(), CALL_BOUND)
        threading.Thread(target=self._work, args=(call,), name="request", daemon=True).start()

    def _work(self, call: Call[K]) -> None:
        try:
            self._ended(CallEnded(call, call.job()))
        except BaseException as error:  # noqa: BLE001  a bug on the worker must end the loop, not hang it
            self._ended(CallBroke(error))
