"""Functions of the C library, called without ctypes."""

import os

import pytest

from device_auth.world.c_library import call_c


def test_a_function_of_the_c_library_is_called_with_ints_and_bytes() -> None:
    assert call_c("getpid") == os.getpid()
    assert call_c("strcmp", b"speaker", b"speaker") == 0


def test_a_function_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="no_such_function"):
        call_c("no_such_function")
