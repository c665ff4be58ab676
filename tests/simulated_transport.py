"""A transport that answers what the test says, and can be told to wait until it is abandoned."""

import threading
from collections.abc import Iterable
from typing import Final, Literal

from device_auth.core.models import Unreachable, WireRequest, WireResponse
from device_auth.core.states import Trouble

SILENCE: Final = "silence"
"""In place of an answer: none comes until the request is abandoned."""

Scripted = WireResponse | Unreachable | Literal["silence"]


class SimulatedTransport:
    """Returns the scripted answers in turn; when they run out, nothing answers.

    Attributes:
        sent: every request, in order.
        is_waiting: set while a request waits for an answer that does not come.
    """

    def __init__(self, answers: Iterable[Scripted] = ()) -> None:
        self.sent: list[WireRequest] = []
        self.is_waiting = threading.Event()
        self._answers = list(answers)
        self._abandoned = threading.Event()

    def script(self, *answers: Scripted) -> None:
        """Add answers to come."""
        self._answers.extend(answers)

    def send(self, request: WireRequest) -> WireResponse | Unreachable:
        """Return the next answer."""
        self.sent.append(request)
        answer = (
            self._answers.pop(0) if self._answers else Unreachable(Trouble.NO_NETWORK, "nothing was scripted")
        )
        if answer != SILENCE:
            return answer
        self._abandoned.clear()
        self.is_waiting.set()
        self._abandoned.wait()
        self.is_waiting.clear()
        return Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the request was cancelled")

    def abandon(self) -> None:
        """End the silence."""
        self._abandoned.set()
