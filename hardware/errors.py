"""The errors of parts; each has a hint for a person."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from errno import EBUSY
from typing import ClassVar, NamedTuple


class HardwareError(Exception):
    """A part failed; ``hint`` is what a person should do.

    ``library`` is the package of PyPI that must be installed first, or empty: how, the caller knows.
    """

    exit_code: ClassVar[int] = 72

    def __init__(self, message: str, *, hint: str = "", library: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.library = library


class PartMissing(HardwareError):
    """A library, a program or a device is missing, or this user may not open it."""


class PartBusy(HardwareError):
    """The part is there, but another program uses it or it does not answer."""


class BadSetting(HardwareError):
    """A setting is unknown, malformed or at odds with another; no part is opened with it."""

    exit_code: ClassVar[int] = 78


class Hints(NamedTuple):
    """The hint for each way in which a device can fail."""

    missing: str
    denied: str
    failed: str
    busy: str = "Stop the program that uses it."


@contextmanager
def device_errors(device: str, hints: Hints) -> Iterator[None]:
    """Turn an OSError about a device into a HardwareError that names it.

    Raises:
        PartMissing: if the device is missing, permission is denied, or it fails in another way.
        PartBusy: if another program uses it.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise PartMissing(f"there is no {device}", hint=hints.missing) from error
    except PermissionError as error:
        raise PartMissing(f"no permission to open {device}", hint=hints.denied) from error
    except OSError as error:
        if error.errno == EBUSY:
            raise PartBusy(f"{device} is in use", hint=hints.busy) from error
        raise PartMissing(f"cannot use {device}: {explain(error)}", hint=hints.failed) from error


def explain_import(module: str, error: ImportError) -> str:
    """Return why a module cannot be imported: it is not there, or something that it needs is not."""
    is_absent = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
    reason = "is not installed" if is_absent else f"cannot be loaded: {error}"
    return f"the module {module} {reason}"


def explain(error: Exception) -> str:
    """Return the reason of a failure in the words of the operating system, without number and path."""
    reason = getattr(error, "strerror", None) or (error.args and str(error.args[-1]))
    return reason or type(error).__name__


def describe_end(status: int) -> str:
    """Return how a program ended.

    Args:
        status: its exit code, or the negative number of the signal that ended it.
    """
    import signal

    if was_interrupted(status):
        return "was interrupted"
    if status >= 0:
        return f"ended with status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by the signal {names.get(-status, -status)}"


def was_interrupted(status: int) -> bool:
    """Return whether a program was ended by Ctrl-C; a shell says that of its own program by 128 and the signal."""
    from signal import SIGINT

    return status in {-SIGINT, 128 + SIGINT}


def call_each(calls: Iterable[Callable[[], None]]) -> None:
    """Call each; then raise the first HardwareError, if there was one."""
    failures = []
    for call in calls:
        try:
            call()
        except HardwareError as error:
            failures.append(error)
    if failures:
        raise failures[0]
