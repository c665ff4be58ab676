"""The output of the verbs: lines of data and JSON objects, with times in RFC 3339."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from device_auth.core.errors import StoreError
from device_auth.core.models import CodePair, Monotonic, UnixTime, View
from device_auth.core.public import rfc3339, write_json
from device_auth.core.states import StateWord, Trouble
from device_auth.world.explain import explain

_REFUSED = {Trouble.DENIED, Trouble.EXPIRED, Trouble.REVOKED, Trouble.MISCONFIGURED}

REASONS = {
    Trouble.NONE: "cancelled",
    Trouble.EXPIRED: "expired",
    Trouble.DENIED: "denied",
    Trouble.REVOKED: "denied",
    Trouble.MISCONFIGURED: "misconfigured",
}
"""The ``reason`` of a ``refused`` event, for each trouble that ends an attempt."""


def print_json(value: object) -> None:
    """Print JSON as a line of its own, as ``print_line`` does."""
    print_line(write_json(value))


def print_line(text: str) -> None:
    """Print one line of data, at once; a character that the output cannot carry becomes an escape.

    Raises:
        BrokenPipeError: if the reader went away.
        StoreError: if the line cannot be written, as on a full disk.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    with _writing():
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)  # noqa: T201  stdout is data


def print_bytes(content: bytes) -> None:
    """Print data whose encoding is its own, at once; raises as ``print_line``."""
    with _writing():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stdout = None  # or the interpreter would fail once more when it flushes at exit
        raise StoreError(
            explain("cannot write the output", error),
            hint="Check where it goes: the disk may be full (df -h).",
        ) from error


class JsonLines:
    """Prints one JSON object a line for each thing that happens while linking.

    Args:
        wall: reads the wall clock.
        now: reads the clock of deadlines, for the rest of a code's life.
    """

    def __init__(self, wall: Callable[[], UnixTime], now: Callable[[], Monotonic]) -> None:
        self._wall = wall
        self._now = now
        self._pair: CodePair | None = None
        self._trouble = Trouble.NONE
        self._state = StateWord.UNLINKED

    def tell(self, view: View) -> None:
        """Print the news of this view: a code, a trouble or its end."""
        self._state = view.state
        if view.code_pair is not None and view.code_pair != self._pair:
            self._pair = view.code_pair
            self._print_code(view.code_pair)
        trouble = Trouble.NONE if view.trouble in _REFUSED else view.trouble
        is_over = view.state in {StateWord.UNLINKED, StateWord.LINKED}
        if trouble is not self._trouble and not (is_over and trouble is Trouble.NONE):
            self._trouble = trouble
            self.event("trouble", trouble=trouble, hint=view.hint if trouble is not Trouble.NONE else "")

    def event(self, event: str, **fields: object) -> None:
        """Print one event."""
        print_json({"event": event, "state": self._state, "at": rfc3339(self._wall()), **fields})

    def refused(self, reason: str, hint: str) -> None:
        """Print that linking ended without a link."""
        self.event("refused", reason=reason, hint=hint)

    def linked(self, doubt: str) -> None:
        """Print that there is a link, and why it may not outlast a power cut; nothing if it does."""
        self._state = StateWord.LINKED
        self.event("linked", lasts=not doubt, hint=doubt)

    def _print_code(self, pair: CodePair) -> None:
        self.event(
            "code",
            user_code=pair.user_code,
            verification_uri=pair.verification_uri,
            verification_uri_complete=pair.prefilled_uri,
            expires_in=max(0, int(pair.expires_at - self._now())),
            interval=int(pair.interval),
        )
