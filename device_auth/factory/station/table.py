"""The live table of slots: each slot in one line of a terminal; where there is no terminal, a line for each change.

The one idea: threads leave values here, and one place writes. Colour repeats what a word says, and is never alone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TextIO

from device_auth.core.errors import ConfigError
from device_auth.core.models import Monotonic
from device_auth.installation import how_to_install
from device_auth.world.clock import BootClock

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

IDLE: Final = "idle"
RUNS: Final = "runs"

_STYLES: Final = {
    IDLE: "dim",
    RUNS: "cyan",
    "PASS": "green",
    "FAIL": "bold red reverse",
    "ERROR": "bold magenta reverse",
    "TIMEOUT": "bold yellow reverse",
    "ABORTED": "yellow",
}
"""What went wrong is also reversed, so that it is found without colours."""

_MOST_NAME: Final = 10
_STATUS, _STEP, _LEAST_DSN, _MOST_DSN, _SECONDS, _LEAST_DETAIL = 7, 9, 8, 16, 4, 12
_HEAD_AND_FOOT: Final = 3
_GAP: Final = "  "
_UPDATES: Final = 4
"""A second; seconds are counted on the screen."""


class SlotRow(NamedTuple):
    """What is shown of a slot.

    Attributes:
        status: ``idle``, ``runs`` or the outcome of the last run.
        step: the step of the plan that runs, or that failed.
        dsn: of the unit in the slot.
        since: the start of the run; None where nothing is counted.
        seconds: how long the run took; None while it runs.
        detail: why it did not pass; may come from the unit, so it is untrusted.
    """

    status: str = IDLE
    step: str = ""
    dsn: str = ""
    since: Monotonic | None = None
    seconds: float | None = None
    detail: str = ""


class SlotTable:
    """Shows the slots of a station for as long as its context lasts. Every method may be called by any thread.

    ``operator`` returns who works at the station now, for the first line.

    Args:
        station: its ID.
        slots: their names, in order.
        out: a terminal, or a file that takes lines.

    Raises:
        ConfigError: if ``out`` is a terminal, and the package for it is missing.
    """

    def __init__(self, station: str, slots: Sequence[str], out: TextIO) -> None:
        self._station = station
        self._rows = {name: SlotRow() for name in slots}
        self._out = out
        self._lock = Lock()
        self._clock = BootClock()
        self._message: tuple[str, bool] = ("", True)
        self.operator: Callable[[], str] = str
        self._live = _open_screen(out, self._draw) if out.isatty() else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is None:
            return
        self._live.stop()
        # the screen of the table is gone with it; what became of each slot, and the last words, stay to be read
        for name, row in self._rows.items():
            if row.status != IDLE:
                self._out.write(_plain(name, row) + "\n")
        if self._message[0]:
            self._out.write(_printable(self._message[0]) + "\n")

    def show(self, slot: str, row: SlotRow) -> None:
        """Show what is new of a slot."""
        with self._lock:
            before, self._rows[slot] = self._rows[slot], row
            if self._live is None and before != row:
                self._write(_plain(slot, row))

    def tell(self, words: str, *, is_good: bool) -> None:
        """Tell the operator at once: what is bad comes with a beep, the scanner beeps for itself at every label."""
        with self._lock:
            self._message = words, is_good
            if self._live is None:
                self._write(("" if is_good else "\a") + _printable(words))
        if self._live is not None:
            self._live.refresh()
            if not is_good:
                self._live.console.bell()

    def _write(self, line: str) -> None:
        """Write a line whole: the lock is held."""
        at = datetime.fromtimestamp(self._clock.wall(), UTC).astimezone()
        self._out.write(f"{at:%H:%M:%S} {line}\n")
        self._out.flush()

    def _draw(self, size: tuple[int, int]) -> "Text":
        with self._lock:
            rows, message = dict(self._rows), self._message
        operator = self.operator()
        return draw(
            f"{self._station}{f'  operator {operator}' if operator else ''}",
            rows,
            message,
            size,
            self._clock.now(),
        )


def draw(
    title: str,
    rows: dict[str, SlotRow],
    message: tuple[str, bool],
    size: tuple[int, int],
    now: Monotonic,
) -> "Text":
    """Draw the table.

    Args:
        title: of its first line, before the counts.
        rows: by the names of their slots.
        message: what the operator was told last, and whether it is good.
        size: columns and lines of the terminal.
        now: for the seconds of what runs.

    Returns:
        At most as many lines as the terminal has, none wider than it.
    """
    from rich.text import Text

    width, height = size
    in_a_column = max(1, height - _HEAD_AND_FOOT)
    columns = -(-len(rows) // in_a_column)
    fitting = max(1, min(columns, (width + len(_GAP)) // (24 + len(_GAP))))
    shown = list(rows.items())
    left_out = 0
    if fitting < columns:
        # what a person must see comes first
        shown.sort(key=lambda item: item[1].status in {IDLE, "PASS"})
        left_out = len(shown) - fitting * in_a_column
        del shown[fitting * in_a_column :]
    lines = -(-len(shown) // fitting)
    cell = (width - len(_GAP) * (fitting - 1)) // fitting
    names = min(_MOST_NAME, max((len(name) for name in rows), default=0))

    counted = _count(rows.values())
    picture = [Text(f"{_printable(title)}  {counted}", "bold")]
    for line in range(lines):
        drawn = Text()
        for place, (name, row) in enumerate(shown[line::lines]):
            drawn.append(_GAP if place else "")
            for text, style in _cells(name, row, names, cell, now):
                drawn.append(text, style)
        picture.append(drawn)
    more = f"{left_out} more slots, idle or passed, do not fit here" if left_out > 0 else ""
    words, is_good = message
    style = ("green" if is_good else "bold red reverse") if words else ""
    picture += Text(more, "dim"), Text(f"{'' if is_good else '!! '}{_printable(words)}", style)
    for each in picture:
        each.truncate(width, overflow="crop")
    return Text("\n", no_wrap=True, end="").join(picture)


def _cells(name: str, row: SlotRow, names: int, width: int, now: Monotonic) -> Iterator[tuple[str, str]]:
    """Yield the fields of a row with their styles, together as wide as ``width``."""
    from rich.cells import set_cell_size

    style = _STYLES.get(row.status, "")
    left = width - names - 1 - _STATUS
    fields = [(name, names, ""), (row.status, _STATUS, style)]
    seconds = _seconds(row, now)
    for text, wanted, most in (
        (row.step, _STEP, _STEP),
        (seconds.rjust(_SECONDS), _SECONDS, _SECONDS),
        (_tail(row.dsn, min(_MOST_DSN, max(_LEAST_DSN, left - _LEAST_DETAIL - 16))), _LEAST_DSN, _MOST_DSN),
        (row.detail, _LEAST_DETAIL, width),
    ):
        takes = min(most, max(wanted, len(text)), left - 1)
        if takes < wanted:
            break
        fields.append((text, takes, ""))
        left -= takes + 1
    for place, (text, takes, of_field) in enumerate(fields):
        yield (" " if place else ""), ""
        yield set_cell_size(_printable(text), takes), of_field
    yield " " * left, ""


def _seconds(row: SlotRow, now: Monotonic) -> str:
    if row.since is None and row.seconds is None:
        return ""
    seconds = row.seconds if row.seconds is not None else max(0.0, now - (row.since or now))
    return f"{seconds:.0f}s" if seconds < 1000 else f"{seconds / 60:.0f}m"  # noqa: PLR2004  what four characters hold


def _tail(text: str, most: int) -> str:
    """Return the end of a serial number, which tells it from the others."""
    return text if len(text) <= most else "…" + text[1 - most :]


def _count(rows: Iterable[SlotRow]) -> str:
    counts = Counter(row.status for row in rows)
    known = [status for status in _STYLES if status in counts]
    return "  ".join(f"{status} {counts[status]}" for status in known)


def _plain(name: str, row: SlotRow) -> str:
    took = f"{row.seconds:.1f} s" if row.seconds is not None else ""
    return " ".join(filter(None, (name, row.status, row.dsn, row.step, took, _printable(row.detail))))


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _open_screen(out: TextIO, draw_now: "Callable[[tuple[int, int]], Text]") -> "Live":
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError as error:
        raise ConfigError(
            "the Python package rich is missing",
            hint=f"{how_to_install('rich')}, or send the output to a file.",
        ) from error
    console = Console(file=out)
    return Live(
        console=console,
        screen=True,
        get_renderable=lambda: draw_now(console.size),
        refresh_per_second=_UPDATES,
        redirect_stdout=False,
        redirect_stderr=False,
    )
