"""What the ways to far units decide without one: which lines count, which settings are taken, what a key's name is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_auth.factory.station import serial, ssh
from device_auth.factory.station.serial import LineMender
from device_auth.factory.station.ssh import fingerprint_of
from device_auth.factory.station.transport import is_talk
from hardware.errors import BadSetting
from hardware.settings import read_table

LINE = b'{"schema": 1, "event": "check", "name": "light"}'
KERNEL = b"[   12.345678] usb 1-1: new {high} speed device"


def mended(*lines: bytes) -> list[bytes]:
    mender = LineMender(is_talk)
    return [whole for line in lines if (whole := mender.feed(line)) is not None]


def test_lines_of_the_talk_count_and_others_do_not() -> None:
    others = b"", b"# ", b"\xff\xfe", b"{}", b'{"event": "check"}', b"[1]", b"{" * 5000, KERNEL

    assert mended(*others, LINE, *others, LINE + b"\r") == [LINE, LINE]


@given(st.integers(0, len(LINE)), st.integers(0, len(LINE)), st.booleans())
def test_a_line_is_put_together_wherever_the_kernel_broke_in(first: int, second: int, calls: bool) -> None:
    first, second = sorted((first, second))
    message = KERNEL.replace(b"] ", b"][  T123] ") if calls else KERNEL
    pieces = LINE[:first] + message + b"\r", LINE[first:second] + message, LINE[second:] + b"\r"

    assert mended(*pieces) == [LINE]
    assert mended(LINE[:first] + message, message, message, LINE[first:]) == [LINE]


def test_a_line_that_lost_its_end_takes_no_other_with_it() -> None:
    assert mended(LINE[:20] + KERNEL, LINE) == [LINE]
    assert mended(LINE[:20] + KERNEL, b"# ", LINE[20:]) == []


def test_an_endless_run_of_messages_is_not_waited_through() -> None:
    assert mended(LINE[:20] + KERNEL, *[KERNEL] * 100, LINE[20:]) == []


def test_what_is_kept_of_a_broken_line_has_a_limit() -> None:
    mender = LineMender(is_talk)
    for _ in range(100):
        mender.feed(b"x" * 60_000 + KERNEL)

    assert len(mender._torn or b"") <= 64 * 1024


# ---------------------------------------------------------------------------------------------------------
# Settings


def test_a_slot_by_ssh_needs_a_host_and_a_key() -> None:
    read = read_table("slot", ssh.KEYS, {"host": "fe80::1%enx0050b6123456", "identity_file": "/key"})

    assert read["user"] == "root"
    assert read["port"] == 22
    assert read["command"] == ("device-auth",)
    assert [read[name] for name in ("interface", "proxy_command", "host_key")] == ["", "", ""]


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "-oProxyCommand=id"},
        {"host": "unit 1"},
        {"host": "unit\nid"},
        {"user": "-root"},
        {"user": "root@unit"},
        {"port": 0},
        {"interface": "eth0 -oX"},
        {"proxy_command": "nc\nid"},
        {"host_key": "AAAA"},
        {"host_key": "ssh-ed25519 AAAA\nssh-rsa BBBB"},
        {"command": []},
    ],
)
def test_what_ssh_could_take_for_something_else_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        read_table("slot", ssh.KEYS, {"host": "unit", "identity_file": "/key", **settings})


def test_a_slot_by_a_serial_line_needs_its_device() -> None:
    read = read_table("slot", serial.KEYS, {"device": "/dev/ttyUSB0"})

    assert (read["speed"], read["user"], read["password_file"]) == (115200, "root", None)


@pytest.mark.parametrize("settings", [{"speed": 115201}, {"device": ""}, {"user": "root\nid"}, {"user": ""}])
def test_a_serial_line_is_of_a_known_kind(settings: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        read_table("slot", serial.KEYS, {"device": "/dev/ttyUSB0", **settings})


@pytest.mark.parametrize("known_hosts", ["", "slot-1", "slot-1 ssh-ed25519", "slot-1 ssh-ed25519 %%%"])
def test_what_is_no_key_has_no_fingerprint(known_hosts: str) -> None:
    assert fingerprint_of(known_hosts) == ""
