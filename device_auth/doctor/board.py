"""The checks of the parts: does each part of the board exist, may the speaker's user open it, and is it free.

While the service runs, its parts are not touched: it holds them, and reports failures itself.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from stat import S_IMODE
from threading import Lock
from typing import Final, NamedTuple

from device_auth.assembly.hardware_parts import hint_of
from device_auth.core.errors import ConfigError
from device_auth.doctor.context import DoctorContext, UserAccount
from device_auth.doctor.findings import Check, Finding, fail, ok, skipped
from device_auth.installation import how_to_install
from device_auth.tools.parts_list import library_of
from device_auth.world.service_unit import UNIT
from hardware.board import SORTS, BoardPlan, open_parts
from hardware.clock import PartsClock
from hardware.errors import HardwareError
from hardware.gpiod_lines import load_library
from hardware.plans import GPIOD, ConsolePlan, OledPlan, PlannedPart, SpiLedsPlan

PART: Final = HardwareError.exit_code

NEW_KERNEL: Final = (6, 6)
"""From this kernel on, the original RPi.GPIO has other numbers for the pins than the kernel."""

READ_AND_WRITE: Final = 0o6

ReadPlan = Callable[[], BoardPlan]

_PINS: Final = Lock()
"""RPi.GPIO keeps its pins in one module for the whole process: one part at a time."""


class Need(NamedTuple):
    """A device that a part needs.

    Attributes:
        pattern: of its path below the root folder; one match is enough.
        group: that may use it on Raspberry Pi OS.
        remedy: if it is missing.
    """

    pattern: str
    group: str
    remedy: str


def checks(context: DoctorContext, read_plan: ReadPlan) -> list[Check]:
    """Return the checks of the parts.

    Args:
        context: whose parts.
        read_plan: reads the settings of the parts; raises ``ConfigError``.
    """
    after = ("H1",)
    before_parts = ("H1", "H2", "H3", "H4", "H5")
    return [
        Check("H1", "board", partial(check_board, read_plan)),
        Check("H2", "gpio-library", partial(check_library, context, read_plan), after),
        Check("H3", "devices", partial(check_devices, context, read_plan), after),
        Check("H4", "device-rights", partial(check_rights, context, read_plan), ("H1", "H3")),
        Check("H5", "unit-devices", partial(check_unit, context, read_plan), after),
        *(
            Check(f"H{number}", sort, partial(check_part, context, read_plan, sort), before_parts)
            for number, sort in enumerate(SORTS, start=6)
        ),
    ]


def check_board(read_plan: ReadPlan) -> Finding:
    """Check whether the settings of the parts can be used, and list them."""
    try:
        plan = read_plan()
    except ConfigError as error:
        return fail(f"The settings of the parts cannot be used: {error}.", error.hint, ConfigError.exit_code)
    parts = [_described(part) for part in plan.parts]
    if not parts:
        return ok("No part is set: this speaker has no light and no button.", board=plan.board)
    return ok(f"The board is {plan.board}: {'; '.join(parts)}.", board=plan.board, gpio=plan.gpio)


def check_library(context: DoctorContext, read_plan: ReadPlan) -> Finding:
    """Check whether the library of the pins is installed, and works on this machine."""
    used = {part.back_end for part in read_plan().parts}
    if GPIOD in used:
        return _check_gpiod()
    if "rpi-gpio" not in used:
        return ok("No part is on a pin.")
    kernel, model = context.line("proc/sys/kernel/osrelease"), context.line("proc/device-tree/model")
    facts = {"kernel": kernel, "model": model}
    remedy = f'{how_to_install("rpi-lgpio").rstrip(".")}. Or set gpio = "{GPIOD}" below [hardware].'
    provider = library_of("rpi-gpio")
    if provider is None:
        return fail("The module RPi.GPIO is not installed.", remedy, PART, provider="none", **facts)
    facts |= {"provider": provider.package, "version": provider.version, "module": provider.path}
    if provider.package == "RPi.GPIO" and ("Raspberry Pi 5" in model or _version_of(kernel) >= NEW_KERNEL):
        machine = model if "Raspberry Pi 5" in model else f"kernel {kernel}"
        return fail(f"The original RPi.GPIO does not work on {machine}.", remedy, PART, **facts)
    return ok(f"{provider.package} provides RPi.GPIO.", **facts)


def _check_gpiod() -> Finding:
    try:
        load_library()
    except HardwareError as error:
        sentence = str(error)
        return fail(f"{sentence[0].upper()}{sentence[1:]}.", hint_of(error), PART)
    provider = library_of(GPIOD)
    facts = {} if provider is None else {"version": provider.version, "module": provider.path}
    return ok("The module gpiod is installed.", **facts)


def check_devices(context: DoctorContext, read_plan: ReadPlan) -> Finding:
    """Check whether the devices that the parts need exist."""
    plan = read_plan()
    missing = [(part, need) for part, need in _needs(plan) if not _found(context, need)]
    if missing:
        part, need = missing[0]
        others = sorted({f"/{other.pattern}" for _, other in missing[1:]} - {f"/{need.pattern}"})
        more = f" Nor is there {', '.join(others)}." if others else ""
        return fail(f"There is no /{need.pattern}, which the {part.name} needs.{more}", need.remedy, PART)
    return ok("Every device that a part needs exists.", devices=_list(context, plan))


def check_rights(context: DoctorContext, read_plan: ReadPlan) -> Finding:
    """Check whether the user of this speaker may use those devices."""
    account, plan = context.account, read_plan()
    facts = {
        "user": account.name,
        "groups": " ".join(sorted(map(str, account.gids))),
        "devices": _list(context, plan),
    }
    for part, need in _needs(plan):
        paths = _found(context, need)
        if not any(may_use(account, path) for path in paths):
            return fail(
                f"{account.name} has no permission to use {paths[0]}, which the {part.name} needs.",
                f"sudo adduser {account.name} {need.group}, then log in again; for the service add"
                f" SupplementaryGroups={need.group} in a drop-in: systemctl edit {UNIT}",
                PART,
                **facts,
            )
    return ok(f"{account.name} may use every device that a part needs.", **facts)


def check_unit(context: DoctorContext, read_plan: ReadPlan) -> Finding:
    """Check whether systemd lets the service see those devices."""
    plan, unit = read_plan(), context.unit
    if not _needs(plan) or unit.get("LoadState") != "loaded":
        return ok("The service may open every device it needs.")
    if unit.get("PrivateDevices") == "yes":
        return fail(
            "systemd hides every device from the service, and its parts need some.",
            "Install the drop-in of your board (deploy/systemd/boards) as"
            f" /etc/systemd/system/{UNIT}.d/board.conf; then: sudo systemctl daemon-reload",
            PART,
        )
    return ok("systemd lets the service see devices.", allowed=unit.get("DeviceAllow", ""))


def check_part(context: DoctorContext, read_plan: ReadPlan, sort: str) -> Finding:
    """Open the parts of a sort for a moment: nothing else shows whether they can be used."""
    plan = read_plan()
    wanted = tuple(part for part in plan.parts if part.sort == sort and part.kind != "off")
    if not wanted:
        return skipped(f"This speaker has no {sort}.")
    if context.daemon.is_running:
        return skipped(f"Not touched: the service is using the {sort}, and reports if it fails (D7).")
    if not context.is_ours:
        return skipped(context.refusal())
    error = _try_out(plan, wanted)
    if error is not None:
        return fail(f"The {sort} cannot be used: {error}.", hint_of(error), error.exit_code)
    return ok(f"The {sort} can be used.")


def _try_out(plan: BoardPlan, wanted: tuple[PlannedPart, ...]) -> HardwareError | None:
    with _PINS:
        clock = PartsClock()
        try:
            opened = open_parts(replace(plan, parts=wanted), clock)
            opened.close()
        except HardwareError as error:
            return error
        finally:
            clock.close()
    return opened.problems[0].error if opened.problems else None


def may_use(account: UserAccount, path: Path) -> bool:
    """Return whether a user may read and write a device."""
    if account.uid == os.geteuid():
        return os.access(path, os.R_OK | os.W_OK, effective_ids=True)
    try:
        status = path.stat()
    except OSError:
        return False
    mode = S_IMODE(status.st_mode)
    if account.uid == status.st_uid:
        mode >>= 6
    elif status.st_gid in account.gids:
        mode >>= 3
    return account.uid == 0 or mode & READ_AND_WRITE == READ_AND_WRITE


def _needs(plan: BoardPlan) -> list[tuple[PlannedPart, Need]]:
    return [(part, need) for part in plan.parts for need in _needs_of(part, plan)]


def _needs_of(part: PlannedPart, plan: BoardPlan) -> Iterator[Need]:
    match part:
        case PlannedPart(back_end="rpi-gpio"):
            yield Need(
                "dev/gpiochip*", "gpio", "Is this a Raspberry Pi with a kernel of 4.8 or newer? See: uname -a"
            )
        case PlannedPart(back_end="gpiod"):
            yield Need(plan.chip.lstrip("/"), "gpio", "See which chips there are: gpiodetect")
        case SpiLedsPlan():
            device = f"dev/spidev{part.bus}.{part.device}"
            yield Need(device, "spi", "Switch the SPI bus on: sudo raspi-config nonint do_spi 0")
        case OledPlan():
            yield Need(
                f"dev/i2c-{part.bus}", "i2c", "Switch the I2C bus on: sudo raspi-config nonint do_i2c 0"
            )
        case ConsolePlan():
            yield Need(str(part.device).lstrip("/"), "tty", "See which consoles there are: ls /dev/tty*")
        case PlannedPart(kind="espeak" | "recorded"):
            yield Need("dev/snd/pcm*p", "audio", "See which sound cards there are: aplay -l")
        case _:
            pass  # a kernel LED, a command, a simulated part: no device of their own


def _found(context: DoctorContext, need: Need) -> list[Path]:
    return sorted(context.root.glob(need.pattern))


def _list(context: DoctorContext, plan: BoardPlan) -> str:
    return ", ".join(sorted({str(path) for _, need in _needs(plan) for path in _found(context, need)}))


def _described(part: PlannedPart) -> str:
    pins = ", ".join(f"{role} {pin}" for role, pin in part.pins)
    kind = f" ({part.kind})" if part.kind != part.name else ""
    return f"{part.name}{kind}" + (f" on {pins}" if pins else "")


def _version_of(kernel: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", kernel)
    return (int(found[1]), int(found[2])) if found else (0, 0)
