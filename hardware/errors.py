"""What can go wrong with a part; every error says what a person can do about it."""

from typing import ClassVar


class HardwareError(Exception):
    """A part cannot do what it was asked; ``hint`` says what a person should do."""

    exit_code: ClassVar[int] = 72

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class PartMissing(HardwareError):
    """A library, a program or a device is not there, or is closed to this user."""


class PartBusy(HardwareError):
    """The part is there, but somebody else has it or it does not answer."""


class BadSetting(HardwareError):
    """A setting is unknown, malformed or at odds with another; no part is tried with it."""

    exit_code: ClassVar[int] = 78
