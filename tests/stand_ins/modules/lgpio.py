"""Stands in for lgpio: the exception that rpi-lgpio lets through. Source: lgpio 0.2.2.0, lgpio.py."""


class error(Exception):  # noqa: N801 - lgpio's own name
    """What lgpio raises; it is no RuntimeError."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return repr(self.value)
