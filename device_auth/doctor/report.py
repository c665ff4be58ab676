"""The report: every finding in one file that a user may send to others."""

import grp
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from device_auth import __version__
from device_auth.core.errors import StoreError
from device_auth.doctor.check_run import CheckResult
from device_auth.doctor.context import DoctorContext
from device_auth.doctor.redaction import Redaction
from device_auth.doctor.rendering import TextStyle, as_text
from device_auth.tools.parts_list import library_of
from device_auth.world.disks import mount_of
from device_auth.world.explain import reason_of
from device_auth.world.files import OwnersFile
from device_auth.world.programs import CannotRun
from device_auth.world.service_unit import UNIT
from device_auth.world.settings import HARDWARE, KEYS, PAGE, Settings
from device_auth.world.toml_lines import write_value
from hardware.errors import describe_end

FILE_MODE: Final = 0o600

LOG_LINES: Final = 100

LIBRARIES: Final = (
    *("requests", "urllib3", "certifi", "qrcode", "cryptography", "flask"),
    *("rpi-lgpio", "RPi.GPIO", "lgpio", "gpiod", "spidev", "luma.oled"),
)

HIDDEN: Final = "set (hidden)"

_HOST: Final = re.compile(r"^(\d{4}-\d\d-\d\dT\S+) (\S+) ")
"""Date and machine's name at the start of a line of the log. Source: journalctl(1), ``short-iso``."""


class ReportFile:
    """The file of a report, proved writable at once, so that it fails before the checks run.

    Args:
        path: of the file.

    Raises:
        StoreError: if it cannot be written, or is not a plain file.
    """

    def __init__(self, path: Path) -> None:
        self._file = OwnersFile(path, FILE_MODE)
        with self._as_store_error():
            self._file.prove()

    def write(self, text: str) -> None:
        """Write the report.

        Raises:
            StoreError: if it cannot be written.
        """
        with self._as_store_error():
            self._file.write(text.encode(errors="replace"))

    @contextmanager
    def _as_store_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"cannot write the report to {self._file.path}: {reason_of(error)}",
                hint="Name another file with --report.",
            ) from error


def write_report(
    context: DoctorContext,
    settings: Settings,
    examined: Sequence[CheckResult],
    redaction: Redaction,
    *,
    at: str,
) -> str:
    """Return the text of the report.

    Args:
        context: of the checks.
        settings: of the speaker.
        examined: redacted results.
        redaction: masks the rest.
        at: the time, for people.
    """
    parts = {
        "Versions": _versions(context),
        "Settings": _settings(settings),
        "User and groups": _groups(context),
        "Disks": _disks(context),
        "Units": _units(context),
        f"The last {LOG_LINES} lines of the log of {UNIT}": _log(context, redaction),
    }
    lines = [f"Report of device-auth doctor, {at}", "", *as_text(examined, TextStyle(has_facts=True)), ""]
    for title, content in parts.items():
        lines += [f"== {title}", *(redaction.text(line) for line in content), ""]
    return "\n".join(lines)


def _versions(context: DoctorContext) -> Iterator[str]:
    yield f"device-auth {__version__}"
    yield f"Python {platform.python_version()} ({sys.implementation.name}, {platform.machine()})"
    yield f"kernel {platform.release()}"
    yield f"system {_os_name(context)}"
    model = context.line("proc/device-tree/model")
    yield f"machine {model or 'no Raspberry Pi, or unknown'}"
    for name in LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} is not installed"
    for back_end, module in (("gpiod", "gpiod"), ("rpi-gpio", "RPi.GPIO")):
        found = library_of(back_end)
        yield f"{module} is provided by: {'none' if found is None else f'{found.package}, {found.path}'}"


def _os_name(context: DoctorContext) -> str:
    lines = context.read("etc/os-release").splitlines()
    names = [line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")]
    return names[0] if names else "unknown"


def _settings(settings: Settings) -> Iterator[str]:
    for name, path in zip(("identity", "set on unit", "settings file"), settings.files, strict=True):
        yield f"{name}: {path or 'none'}{' (cannot be read)' if path in settings.unread else ''}"
    for key in KEYS:
        value = getattr(settings, key.name)
        if key.is_secret and value:
            value = HIDDEN
        shown = value if isinstance(value, str) else "" if value is None else write_value(value)
        yield f"{key.name:<15}  {shown or 'not set'}  ({settings.origins[key.name]})"
    for name, table in ((HARDWARE, settings.hardware or None), (PAGE, settings.page)):
        yield f"{name:<15}  {'not set' if table is None else write_value(table)}"
    for name, value in settings.identity.items():
        yield f"{name:<15}  {value}"


def _groups(context: DoctorContext) -> Iterator[str]:
    account = context.account
    yield f"the speaker's user: {account.name} ({account.uid}), groups {_names(account.gids)}"
    yield f"this process: user {os.geteuid()}, groups {_names({os.getegid(), *os.getgroups()})}"


def _names(gids: frozenset[int] | set[int]) -> str:
    return ", ".join(sorted(_name_of(gid) for gid in gids))


def _name_of(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _disks(context: DoctorContext) -> Iterator[str]:
    for path in (context.places.state_dir, context.places.runtime_dir):
        if path is not None:
            mount = mount_of(path, context.root)
            yield f"{path}: {'unknown' if mount is None else mount.line}"


def _units(context: DoctorContext) -> Iterator[str]:
    for name, properties in context.units.items():
        for key, value in properties.items():
            yield f"{name}: {key}={value}"
    if not context.units:
        yield "systemd does not answer here, or does not keep this speaker."


def _log(context: DoctorContext, redaction: Redaction) -> Iterator[str]:
    if not context.is_system:
        yield "The system's service does not keep this speaker."
        return
    words = [
        "journalctl",
        "--unit",
        UNIT,
        "--lines",
        str(LOG_LINES),
        "--output",
        "short-iso",
        "--no-pager",
        "--quiet",
    ]
    try:
        ran = context.run(words)
    except CannotRun as error:
        yield f"The log cannot be read: {error}."
        return
    if ran.exit_code != 0:
        yield f"The log cannot be read: journalctl {describe_end(ran.exit_code)}."
        return
    lines = ran.output.splitlines()[-LOG_LINES:]
    for line in lines:
        yield _HOST.sub(lambda found: f"{found[1]} {redaction.mask('host', found[2])} ", line)
    if not lines:
        yield "It is empty, or this user may not read it: sudo device-auth doctor"
