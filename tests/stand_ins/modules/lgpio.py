"""Stands in for lgpio: the exception that rpi-lgpio lets through. Source: lgpio 0.2.2.0, lgpio.py."""

import os

PIPE_IN = os.environ.get("LG_WD") or "."
"""Where lgpio would make its pipe at import. Source: lgpio's manual, LG_WD."""


class error(Exception):  # noqa: N801 - lgpio's own name
    """What lgpio raises; it is no RuntimeError."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return repr(self.value)
