"""Every prompt on a thread of its own, so that none waits for another.

A busy prompt skips the views that are out of date when it is free, never the newest. A prompt that fails is logged,
and the others go on.
"""

import logging
import threading
from typing import TYPE_CHECKING, Final

from device_auth.core.models import Monotonic, Seconds, View, later

if TYPE_CHECKING:
    from collections.abc import Iterable

    from device_auth.core.ports import Clock, Prompt

LONGEST_WAIT: Final = Seconds(60)
"""A wait does not count the time spent suspended, so the clock is read at least this often."""

CLOSING_TIME: Final = Seconds(0.5)
"""How long the prompts may take to show the last view."""

log: Final = logging.getLogger(__name__)


class PromptFanout:
    """Shows the newest view by every prompt.

    Args:
        prompts: may be none.
        clock: for countdowns.
    """

    def __init__(self, prompts: "Iterable[Prompt]", clock: "Clock") -> None:
        self._clock = clock
        self._threads = [_PromptThread(prompt, clock) for prompt in prompts]

    def tell(self, view: View) -> None:
        """Leave a view for every prompt, without blocking; a view equal to the last changes nothing."""
        for thread in self._threads:
            thread.leave(view)

    def wait(self, within: Seconds) -> None:
        """Wait until every prompt has shown the newest view; for all of them together at most ``within``."""
        until = later(self._clock.now(), within)
        for thread in self._threads:
            thread.wait(Seconds(until - self._clock.now()))

    def is_behind(self) -> bool:
        """Return whether a prompt has not shown the newest view yet."""
        return any(thread.is_behind() for thread in self._threads)

    def close(self, within: Seconds = CLOSING_TIME) -> None:
        """Have every prompt show the last view and close; wait for all of them together at most ``within``."""
        until = later(self._clock.now(), within)
        for thread in self._threads:
            thread.end()
        for thread in self._threads:
            thread.join(Seconds(until - self._clock.now()))


class _PromptThread:
    """One prompt, its thread, and the newest view."""

    def __init__(self, prompt: "Prompt", clock: "Clock") -> None:
        self._prompt = prompt
        self._clock = clock
        self._changed = threading.Condition()
        self._newest: View | None = None
        self._shown: View | None = None
        self._is_ending = False
        # a daemon: the process must be able to exit while a prompt hangs
        self._thread = threading.Thread(target=self._run, name=f"prompt {prompt.name}", daemon=True)
        self._thread.start()

    def leave(self, view: View) -> None:
        with self._changed:
            self._newest = view
            self._changed.notify_all()

    def wait(self, within: Seconds) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._shown == self._newest, max(0.0, within))

    def is_behind(self) -> bool:
        with self._changed:
            return self._shown != self._newest

    def end(self) -> None:
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()

    def join(self, within: Seconds) -> None:
        self._thread.join(max(0.0, within))

    def _run(self) -> None:
        again: Monotonic | None = None
        while True:
            with self._changed:
                while not (self._newest != self._shown or self._is_ending or self._is_due(again)):
                    self._changed.wait(self._until(again))
                newest, is_ending = self._newest, self._is_ending
            if newest is not None and (newest != self._shown or not is_ending):
                again = self._show(newest)
                self._set_shown(newest)
            if is_ending:
                self._close()
                return

    def _set_shown(self, view: View) -> None:
        with self._changed:
            self._shown = view
            self._changed.notify_all()

    def _is_due(self, again: Monotonic | None) -> bool:
        return again is not None and self._clock.now() >= again

    def _until(self, again: Monotonic | None) -> Seconds | None:
        """Return how long to wait for a change; without a countdown there is no limit, so nothing wakes up in vain."""
        if again is None:
            return None
        return Seconds(min(LONGEST_WAIT, max(0.0, again - self._clock.now())))

    def _show(self, view: View) -> Monotonic | None:
        try:
            return self._prompt.show(view, self._clock.now())
        except Exception as error:  # noqa: BLE001  linking and the other prompts go on after any error
            self._log_failure(error)
            return None

    def _close(self) -> None:
        try:
            self._prompt.close()
        except Exception as error:  # noqa: BLE001  the other prompts are closed after any error
            self._log_failure(error)

    def _log_failure(self, error: Exception) -> None:
        # the kind of error alone: its text may hold the code
        log.warning("the %s does not work: %s", self._prompt.name, type(error).__name__)
