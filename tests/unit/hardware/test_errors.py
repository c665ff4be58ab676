import termios
from errno import ENOENT

import pytest

from hardware.errors import HardwareError, Hints, call_each, device_errors, explain

HINTS = Hints(missing="plug it in", denied="join a group", failed="check it")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(ENOENT, "No such file or directory", "/dev/x"), "No such file or directory"),
        (OSError("the bus has gone"), "the bus has gone"),
        (OSError(), "OSError"),
        (OSError(""), "OSError"),
        (termios.error(5, "Input/output error"), "Input/output error"),
    ],
)
def test_every_failure_has_a_reason(error: Exception, reason: str) -> None:
    assert explain(error) == reason


def test_a_device_error_without_a_number_still_has_its_reason() -> None:
    with pytest.raises(HardwareError) as failed, device_errors("/dev/x", HINTS):
        raise OSError("the bus has gone")

    assert (str(failed.value), failed.value.hint) == ("cannot use /dev/x: the bus has gone", "check it")


def test_each_is_called_though_the_first_fails() -> None:
    called: list[int] = []

    def fail() -> None:
        called.append(len(called))
        raise HardwareError(f"number {len(called)}")

    with pytest.raises(HardwareError, match="number 1"):
        call_each([fail, fail])

    assert called == [0, 1]
