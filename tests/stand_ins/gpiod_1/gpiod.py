"""Stands in for python3-libgpiod 1.6 of Debian bookworm: as much of its API as tells it from version 2."""

LINE_REQ_DIR_IN = 2
LINE_REQ_DIR_OUT = 3


class Chip:
    """Opened by name or path; lines come from ``get_line``."""
