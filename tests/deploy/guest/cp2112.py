"""In the virtual machine: be a CP2112 for the kernel's own driver, which makes a chip of eight lines and an I2C bus of it.

Debian's kernels have no simulated chip (gpio-sim), but this part of a USB plug can be any program. Each line is a file, ``/run/pins/N``: 1 or 0.
An input reads what the file holds; an output's level is written there.

Source: Silicon Labs AN495, "CP2112 interface specification"; Linux ``drivers/hid/hid-cp2112.c``, ``Documentation/hid/uhid.rst``.
"""

import os
import struct
from pathlib import Path
from typing import Final

PINS: Final = Path("/run/pins")
LINES: Final = 8

_CREATE2, _START, _OUTPUT, _GET, _GET_REPLY, _SET, _SET_REPLY = 11, 2, 6, 9, 10, 13, 14
_EVENT: Final = 4380
_DESCRIPTOR: Final = bytes.fromhex("0600ff0901a101150026ff00750895040901b102c0")
"""A page of the maker's own, and one report: the driver asks by number and never reads it."""

_GPIO_CONFIG, _GPIO_GET, _GPIO_SET, _VERSION, _SMBUS_CONFIG, _LOCK = 2, 3, 4, 5, 6, 32


def main() -> None:
    """Serve until killed."""
    PINS.mkdir(exist_ok=True)
    for line in range(LINES):
        (PINS / str(line)).write_text("1")  # the part's own resistors pull up
    reports = {
        _GPIO_CONFIG: bytearray(4),
        _VERSION: bytearray((12, 1)),
        _LOCK: bytearray((0xFF,)),
        _SMBUS_CONFIG: bytearray(struct.pack(">I2B2HBH", 100_000, 2, 0, 0, 0, 0, 0)),
    }
    device = os.open("/dev/uhid", os.O_RDWR)
    names = b"cp2112".ljust(128, b"\0") + bytes(128)
    size, bus = len(_DESCRIPTOR), 3
    head = struct.pack("<HHIIII", size, bus, 0x10C4, 0xEA90, 0, 0)
    os.write(device, struct.pack("<I", _CREATE2) + names + head + _DESCRIPTOR)
    while True:
        event = os.read(device, _EVENT)
        kind, asked, number = struct.unpack_from("<IIB", event)
        if kind == _GET:
            content = bytes(reports.get(number, b"")) if number != _GPIO_GET else bytes((_levels(),))
            answer = struct.pack("<IIHH", _GET_REPLY, asked, 0, 1 + len(content)) + bytes((number,)) + content
            os.write(device, answer)
        elif kind == _SET:
            (length,) = struct.unpack_from("<H", event, 10)
            content = event[12 : 12 + length]
            if number == _GPIO_SET:
                _set(values=content[1], mask=content[2])
            else:
                reports[number] = bytearray(content[1:])
            os.write(device, struct.pack("<IIH", _SET_REPLY, asked, 0))


def _levels() -> int:
    return sum((PINS / str(line)).read_text().startswith("1") << line for line in range(LINES))


def _set(*, values: int, mask: int) -> None:
    for line in range(LINES):
        if mask >> line & 1:
            (PINS / str(line)).write_text(str(values >> line & 1))


if __name__ == "__main__":
    main()
