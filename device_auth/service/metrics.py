"""Metrics: the speaker's figures for Prometheus, in a file that node exporter's text-file collector reads.

Numbers and our own words go into it, and nothing that names a person, a unit or a token. It is written when something
has happened and at no other moment, so it has the moment at which a token ends, not the seconds that are left: those
would be wrong a second later, and Prometheus itself knows what time it is.

Source: Prometheus, "Exposition formats", "Metric and label naming", "Instrumentation" ("Timestamps, not time since";
"Avoid missing metrics"); node_exporter's README, "Textfile Collector".
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from device_auth import __version__
from device_auth.core import speaker
from device_auth.core.linking import PollToken, StoreFailed
from device_auth.core.models import (
    Answer,
    Monotonic,
    Pending,
    Refusal,
    SlowDown,
    TokenGrant,
    Unclear,
    Unreachable,
)
from device_auth.core.ports import Clock
from device_auth.core.speaker import RequestRefresh
from device_auth.core.states import StateWord, Trouble
from device_auth.service.status_feed import Snapshot
from device_auth.world.explain import explain
from device_auth.world.files import RUNTIME_MODE, Folder, beside_of
from device_auth.world.places import METRICS

FILE_MODE: Final = 0o644
"""Node exporter runs as a user of its own."""

_OUTCOMES: Final[Mapping[type[Answer], str]] = {
    TokenGrant: "granted",
    Pending: "pending",
    SlowDown: "slow_down",
    Refusal: "refused",
    Unreachable: "unreachable",
    Unclear: "unclear",
}

TIMED_OUT: Final = "timed_out"

_OF_REQUESTS: Final = (*_OUTCOMES.values(), TIMED_OUT)

_POLLS: Final = "device_auth_polls_total"
_REFRESHES: Final = "device_auth_refreshes_total"
_SAVES: Final = "device_auth_saves_total"
_LINKS: Final = "device_auth_links_total"

_COUNTERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    _REFRESHES: ("Requests for a new access token, by outcome.", _OF_REQUESTS),
    _POLLS: ("Polls while an owner was to approve, by outcome.", _OF_REQUESTS),
    _SAVES: ("Writes of the link to the disk, by outcome.", ("stored", "failed")),
    _LINKS: ("Links that were made: the first one, and each re-link.", ("",)),
}
"""Each counter, what it counts and by which outcomes; all begin with 0 when the service starts."""

log: Final = logging.getLogger(__name__)


class Metrics:
    """Counts what the loop's machine hears, and keeps the file. Runs on the loop's thread.

    Args:
        directory: the runtime folder; None if there is none: then there is no file.
        look: returns the newest snapshot.
        clock: returns both times.
        soon: calls a function on the loop's thread, once it has nothing else at hand.
    """

    def __init__(
        self,
        directory: Path | None,
        look: Callable[[], Snapshot],
        clock: Clock,
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self._directory = directory
        self._look = look
        self._clock = clock
        self._soon = soon
        self._started_at = clock.now()
        self._counts = {
            (name, outcome): 0 for name, (_, outcomes) in _COUNTERS.items() for outcome in outcomes
        }
        self._is_due = False
        self._written = ""
        self._failure = ""

    def hear(self, event: speaker.Event) -> None:
        """Count an event, and write the file soon if it changes something."""
        for counted in _counted(event):
            self._counts[counted] += 1
        if not self._is_due:
            self._is_due = True
            self._soon(self.write)

    def write(self) -> None:
        """Write the file if its text has changed. A failure is logged, and ends nothing."""
        self._is_due = False
        text = self._text()
        if self._directory is None or text == self._written:
            return
        try:
            with Folder.open_to_write(self._directory, RUNTIME_MODE) as folder:
                folder.replace(METRICS, text.encode(), FILE_MODE)
        except OSError as error:
            failure = explain(f"cannot write {self._directory / METRICS}", error)
            if failure != self._failure:
                log.warning("%s", failure)
            self._failure = failure
        else:
            self._written, self._failure = text, ""

    def remove(self) -> None:
        """Remove the file: what nobody keeps must not be read as the present state."""
        if self._directory is not None:
            with suppress(OSError), Folder.open(self._directory) as folder:
                for name in (METRICS, beside_of(METRICS)):
                    folder.remove(name)

    def _text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        snapshot = self._look()
        name = "device_auth_build_info"
        yield from _head(name, "gauge", "The version of device-auth that runs.")
        yield f'{name}{{version="{__version__}"}} 1'
        name = "device_auth_start_time_seconds"
        yield from _head(name, "gauge", "When the service started, in seconds since 1970.")
        yield f"{name} {self._wall(self._started_at)}"
        for name, words, told in (
            ("state", StateWord, snapshot.view.state),
            ("trouble", Trouble, snapshot.view.trouble),
        ):
            yield from _head(
                f"device_auth_{name}", "gauge", f"The {name} of the speaker: 1 for the present one."
            )
            for word in words:
                yield f'device_auth_{name}{{{name}="{word}"}} {int(word is told)}'
        name = "device_auth_token_expiry_timestamp_seconds"
        yield from _head(name, "gauge", "When the access token ends, in seconds since 1970; 0 without one.")
        yield f"{name} {0 if snapshot.grant is None else self._wall(snapshot.grant.expires_at)}"
        for name, (explanation, outcomes) in _COUNTERS.items():
            yield from _head(name, "counter", explanation)
            for outcome in outcomes:
                label = f'{{outcome="{outcome}"}}' if outcome else ""
                yield f"{name}{label} {self._counts[name, outcome]}"

    def _wall(self, moment: Monotonic) -> int:
        return round(self._clock.wall() + moment - self._clock.now())


def _head(name: str, kind: str, explanation: str) -> tuple[str, str]:
    return f"# HELP {name} {explanation}", f"# TYPE {name} {kind}"


def _counted(event: speaker.Event) -> Iterator[tuple[str, str]]:
    """Yield the counters that an event raises; an answer that came too late was counted as timed out."""
    match event:
        case speaker.CallAnswered(PollToken(), answer, _, False):
            yield _POLLS, _outcome_of(answer)
        case speaker.CallAnswered(RequestRefresh(), answer, _, False):
            yield _REFRESHES, _outcome_of(answer)
        case speaker.CallTimedOut(PollToken()):
            yield _POLLS, TIMED_OUT
        case speaker.CallTimedOut(RequestRefresh()):
            yield _REFRESHES, TIMED_OUT
        case speaker.GrantStored():
            yield _SAVES, "stored"
            yield _LINKS, ""
        case speaker.LinkStored():
            yield _SAVES, "stored"
        case speaker.LinkNotStored() | StoreFailed():
            yield _SAVES, "failed"
        case _:
            pass


def _outcome_of(answer: Answer) -> str:
    if isinstance(answer, Unreachable) and answer.timed_out:
        return TIMED_OUT
    return _OUTCOMES.get(type(answer), _OUTCOMES[Unclear])
