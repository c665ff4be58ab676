"""The errors, each with the next step of a person.

Each error carries the exit code of its kind (sysexits(3) where one fits) and a hint: the message names
the subject and the cause, the hint names the next step.
"""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from types import TracebackType


class DeviceAuthError(Exception):
    """Something this program can explain.

    Args:
        message: what happened to what; never holds a secret.
        hint: what the person should do; empty if there is nothing to do.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class WrongUse(DeviceAuthError):
    """The options do not go together."""

    exit_code = 2


class ConfigError(DeviceAuthError):
    """A setting is missing or malformed; the message names it."""

    exit_code = 78


class SettingMissing(ConfigError):
    """A setting is not set; the message begins with its name."""


class ProviderUnreachable(DeviceAuthError):
    """Nothing usable came back within the time asked for."""

    exit_code = 69


class ProviderUnclear(DeviceAuthError):
    """Answers came, none of them in a documented form."""

    exit_code = 76


class LinkingError(DeviceAuthError):
    """Linking ended without a link."""


class CodePairExpired(LinkingError):
    """The code pair ran out before anyone approved."""

    exit_code = 75


class LinkingDenied(LinkingError):
    """The owner declined."""

    exit_code = 77


class ClientRejected(LinkingError):
    """The provider does not accept the client, or what it asked for."""

    exit_code = 78


class Interrupted(LinkingError):
    """A person stopped it."""

    exit_code = 130


class NotLinked(DeviceAuthError):
    """A token was asked for and there is none to be had now."""

    exit_code = 75


class Busy(DeviceAuthError):
    """Another process or person is using it now: try again later."""

    exit_code = 75


class ServiceDown(Busy):
    """The service that keeps the link is down, fails, or does not answer."""


class UnitLocked(DeviceAuthError):
    """The factory has locked this unit: its verbs are refused until a reset by hand."""

    exit_code = 77


class RefreshRejected(DeviceAuthError):
    """The account must be linked again."""

    exit_code = 77


class StoreError(DeviceAuthError):
    """The store cannot be read or written."""

    exit_code = 74


class StoreBusy(StoreError):
    """Another process has the store's lock: try again later."""

    exit_code = 75


class StoreDamaged(StoreError):
    """The stored link does not verify, and there is no other generation: the account must be linked again."""


class NotSealed(StoreDamaged):
    """What is stored is plain, although a key is set up: anyone who can write there may have made it."""

    exit_code = 75


class KeyLost(StoreDamaged):
    """The stored link is whole, but the key that it is sealed under is gone: the account must be linked again."""


def trace_of(error: BaseException) -> "list[TracebackType]":
    """Return the places that an error has passed; it struck at the last one.

    The standard library's ``traceback`` is loaded late, which fails where no file can be opened any more.
    """
    trace, at = [], error.__traceback__
    while at is not None:
        trace.append(at)
        at = at.tb_next
    return trace
