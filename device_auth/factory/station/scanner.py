"""The scanner of a station: a line for each label, read from a keyboard's own device or from standard input.

The one idea: keys become characters, characters become lines, and only a whole line is a label. A label of which a
part was lost (a key that the layout does not have, events that the kernel dropped, no Enter at its end) is told as
unreadable and never taken for a shorter number.

A scanner is a keyboard that types. Its device is grabbed, so that no console and no desktop gets the keys.

Source: Linux, Documentation/input/input.rst and ``input-event-codes.h``.
"""

import fcntl
import os
import re
import struct
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from select import select
from types import MappingProxyType
from typing import Final, NamedTuple, Self

from device_auth.core.errors import DeviceAuthError
from device_auth.core.models import Monotonic, Seconds, later
from device_auth.factory.check_digit import ANY_DSN
from device_auth.world.clock import BootClock
from device_auth.world.explain import explain

LONGEST_LABEL: Final = 256
"""Characters of a label; DSN, semicolon and what a product's own labels hold beside."""

SILENCE: Final = Seconds(1)
"""After so long without a key the rest of a label does not come: a scanner types a whole one in less."""

LOST: Final = "\N{REPLACEMENT CHARACTER}"
"""Stands in a line for what could not be read, so that the line is no label."""

_OPERATOR: Final = re.compile(r"[0-9A-Za-z_.@-]{1,32}")
_ENDS: Final = "\r\n\t"


# ---------------------------------------------------------------------------------------------------------
# Labels


class ScanKind(StrEnum):
    """A kind of label."""

    UNIT = "unit"
    OPERATOR = "operator"
    SLOT = "slot"


class Scan(NamedTuple):
    """One label: its kind, and its DSN, operator ID or slot."""

    kind: ScanKind
    text: str


class UnreadableLabel(ValueError):
    """A line is not a label; has the reason in words for the operator."""


def read_scan(line: str) -> Scan:
    """Read a label.

    A unit's is its DSN, alone or before a semicolon. ``OP;`` begins an operator's badge and ``AT;`` the label of a
    slot: no DSN has two characters.

    Args:
        line: as the scanner typed it, without its end; untrusted.

    Raises:
        UnreadableLabel: if it is none of them.
    """
    if LOST in line or len(line) > LONGEST_LABEL or not line.isascii() or not line.isprintable():
        raise UnreadableLabel("unreadable label: scan it again")
    head, separator, rest = line.partition(";")
    if separator and head in {"OP", "AT"}:
        if not _OPERATOR.fullmatch(rest):
            raise UnreadableLabel(f"unreadable label: {head}; must be followed by 1 to 32 letters or digits")
        return Scan(ScanKind.OPERATOR if head == "OP" else ScanKind.SLOT, rest)
    if not ANY_DSN.fullmatch(head):
        raise UnreadableLabel("unreadable label: not a DSN (4 to 32 letters, digits, _ and -)")
    return Scan(ScanKind.UNIT, head)


# ---------------------------------------------------------------------------------------------------------
# Keys

US_KEYS: Final[Mapping[int, str]] = MappingProxyType(
    {
        first + place: pair
        for first, pairs in (
            (2, "1! 2@ 3# 4$ 5% 6^ 7& 8* 9( 0) -_ =+"),
            (16, "qQ wW eE rR tT yY uU iI oO pP [{ ]}"),
            (30, "aA sS dD fF gG hH jJ kK lL ;: '\" `~"),
            (43, "\\| zZ xX cC vV bB nN mM ,< .> /?"),
            (55, "**"),
            (71, "77 88 99 -- 44 55 66 ++ 11 22 33 00 .."),
            (98, "//"),
        )
        for place, pair in enumerate(pairs.split())
    }
    | {57: "  ", 15: "\t\t", 28: "\n\n", 96: "\n\n"}
)
"""The characters of each key, without and with Shift, on a keyboard of the United States: what scanners are set to
unless told otherwise. Source: ``input-event-codes.h``."""

_SHIFTS: Final = frozenset({42, 54})
_SILENT_KEYS: Final = frozenset({29, 56, 58, 69, 70, 97, 100, 125, 126})
"""Keys that type nothing by themselves: Ctrl, Alt, Super and the locks."""

_EVENT: Final = struct.Struct("llHHi")
"""``struct input_event``: two numbers of time, type, code, value; in the sizes of this machine's C library."""

_LAST_KEY: Final = 0x2FF
_SYN, _KEY = 0, 1
_SYN_DROPPED: Final = 3
_PRESSED: Final = 1

_GRAB: Final = 0x40044590
"""``EVIOCGRAB``: ``_IOW('E', 0x90, int)``."""


class KeyReader:
    """Turns the events of a keyboard into the characters that were typed.

    Args:
        layout: the two characters of each key's number, without and with Shift.
    """

    def __init__(self, layout: Mapping[int, str] = US_KEYS) -> None:
        self._layout = layout
        self._rest = b""
        self._shifts: set[int] = set()

    def read(self, events: bytes) -> str:
        """Return what events type; a key that is not in the layout, and lost events, are ``LOST``."""
        events = self._rest + events
        whole = len(events) - len(events) % _EVENT.size
        self._rest = events[whole:]
        return "".join(
            self._typed(kind, code, value) for _, _, kind, code, value in _EVENT.iter_unpack(events[:whole])
        )

    def _typed(self, kind: int, code: int, value: int) -> str:
        if kind == _SYN and code == _SYN_DROPPED:
            self._shifts.clear()
            return LOST
        if kind != _KEY:
            return ""
        if code in _SHIFTS:
            (self._shifts.add if value else self._shifts.discard)(code)
            return ""
        if value != _PRESSED or code in _SILENT_KEYS:
            return ""
        return self._layout.get(code, LOST * 2)[bool(self._shifts)]


def read_layout(keys: Mapping[str, object]) -> Mapping[int, str]:
    """Return the keyboard of the United States with a station's own keys in it.

    Args:
        keys: by the key's number: its character, or the two without and with Shift.

    Raises:
        ValueError: if a number or its characters cannot be; the words complete "NAME ...".
    """
    layout = dict(US_KEYS)
    for number, typed in keys.items():
        if not (number.isascii() and number.isdigit() and 0 < int(number) <= _LAST_KEY):
            raise ValueError(f"has no key {number!a}: keys are numbers from 1 to {_LAST_KEY}")
        if not isinstance(typed, str) or len(typed) not in {1, 2} or not typed.isprintable():
            raise ValueError(f"must have one or two characters for key {number}")
        layout[int(number)] = typed * (3 - len(typed))
    return layout


# ---------------------------------------------------------------------------------------------------------
# The device


class ScannerGone(DeviceAuthError):
    """The scanner cannot be read: it is unplugged, or belongs to another user."""

    exit_code = 72


def open_keyboard(path: Path) -> int:
    """Open a keyboard's device for this process alone; what it types reaches nobody else.

    Raises:
        OSError: if it cannot be opened, or another process has grabbed it.
    """
    device = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        fcntl.ioctl(device, _GRAB, 1)
    except OSError:
        os.close(device)
        raise
    return device


class Scanner:
    """Reads lines, one a label. Used by one thread.

    Args:
        name: of the source, for messages.
        open_source: opens it, anew after it was lost.
        read_typed: turns what is read from it into characters.
        silence: after which an unfinished line is over; None where people type.
    """

    def __init__(
        self,
        name: str,
        open_source: Callable[[], int],
        read_typed: Callable[[bytes], str],
        *,
        silence: Seconds | None = SILENCE,
    ) -> None:
        self._name = name
        self._open = open_source
        self._read_typed = read_typed
        self._silence = silence
        self._clock = BootClock()
        self._source: int | None = None
        self._typed = ""
        self._typed_at = Monotonic(0.0)
        self.is_ended = False

    @classmethod
    def of_device(cls, path: Path, layout: Mapping[int, str] = US_KEYS) -> Self:
        """Return the scanner that is the keyboard at ``/dev/input/by-id/…``."""
        return cls(str(path), lambda: open_keyboard(path), KeyReader(layout).read)

    @classmethod
    def of_stdin(cls, source: int = 0) -> Self:
        """Return the scanner that types on the terminal of this process, or a person, or a program that writes lines."""
        return cls(
            "standard input",
            lambda: os.dup(source),
            lambda typed: typed.decode("ascii", "replace"),
            silence=None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the device."""
        if self._source is not None:
            os.close(self._source)
            self._source = None

    def next_line(self, within: Seconds) -> str | None:
        """Return the next line, without its end; None if there is none in time, or no more (``is_ended``).

        A line that was begun and not ended is returned with ``LOST`` at its end.

        Raises:
            ScannerGone: if the device cannot be opened or read; the next call tries again.
        """
        until = later(self._clock.now(), within)
        while True:
            line = self._taken()
            now = self._clock.now()
            if line is not None or self.is_ended:
                return line
            wait = until - now
            if self._typed and self._silence is not None:
                line_ends_in = self._typed_at + self._silence - now
                if line_ends_in <= 0:
                    line, self._typed = self._typed + LOST, ""
                    return line
                wait = min(wait, line_ends_in)
            if not self._read(max(wait, 0)) and until <= now:
                return None

    def _taken(self) -> str | None:
        """Return and forget the first whole line; empty ones are none."""
        self._typed = self._typed.lstrip(_ENDS)
        ends = [place for end in _ENDS if (place := self._typed.find(end)) >= 0]
        if not ends:
            return None
        line, self._typed = self._typed[: min(ends)], self._typed[min(ends) :]
        return line

    def _read(self, within: float) -> bool:
        """Read what comes in time; return whether anything came."""
        try:
            if self._source is None:
                self._source = self._open()
            ready, _, _ = select([self._source], [], [], within)
            if not ready:
                return False
            content = os.read(self._source, 4096)
        except OSError as error:
            self.close()
            self._typed = ""
            raise ScannerGone(
                explain(f"cannot read the scanner {self._name}", error), hint=_how_to_mend(error)
            ) from error
        if not content:
            self.is_ended = True
            # a last line without its end is whole where a program or a person wrote it
            self._typed += "\n"
        typed = self._read_typed(content)
        if typed:
            # a line that is too long is kept one character too long: enough for it to be refused
            begun, *whole = re.split(f"(?<=[{_ENDS}])", self._typed + typed)
            self._typed = "".join(_cut(line) for line in (begun, *whole))
            self._typed_at = self._clock.now()
        return True


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LABEL + 2 else line[: LONGEST_LABEL + 1] + line[-1]


def _how_to_mend(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Add the station's user to the group input (sudo usermod -aG input USER), then log in again."
    if isinstance(error, FileNotFoundError):
        return "Plug it in; its name stands in /dev/input/by-id and ends in -event-kbd."
    return "Check its plug, and that no other program has grabbed it."
