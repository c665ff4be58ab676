"""A machine may have no IPv6: what listens at ::1 is then skipped."""

import socket
from typing import Final

import pytest


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6: Final = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 on loopback")
"""The mark of a test that listens at ::1."""
