import errno
import os

import pytest

from device_auth.world.explain import explain, store_error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "cannot open X: permission denied"),
        (OSError(errno.ENOENT, os.strerror(errno.ENOENT)), "cannot open X: no such file or directory"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "cannot open X: the disk is full"),
        (OSError(), "cannot open X: unknown error"),
        (ValueError("embedded null byte"), "cannot open X: not a valid path"),
    ],
)
def test_an_error_is_told_after_its_action(error: Exception, said: str) -> None:
    assert explain("cannot open X", error) == said


def test_a_hint_that_is_given_stands_in_for_ours() -> None:
    assert store_error("cannot open X", OSError(), "Try another.").hint == "Try another."
