"""The checks of the parts: does each part of the board exist, may the speaker's user open it, and is it free.

While the service runs, its parts are not touched: it holds them, and reports failures itself.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from stat import S_IMODE
from threading import Lock
from typing import Final, NamedTuple

from device_auth.assembly.hardware_parts import hint_of
from device_auth.core.errors import ConfigError
from device_auth.doctor.context import DoctorContext, UserAccount
from device_auth.doctor.findings import Check, Finding, fail, ok, skipped, warn
from device_auth.installation import how_to_install
from device_auth.tools.drop_ins import is_copy
from device_auth.tools.parts_list import RPI_GPIO, library_of
from device_auth.world.service_unit import RESTART, UNIT
from device_auth.world.unit import container_kind
from hardware.board import SORTS, BoardPlan, open_parts
from hardware.clock import PartsClock
from hardware.errors import HardwareError
from hardware.gpiod_lines import load_library
from hardware.plans import GPIOD, ConsolePlan, KernelLedPlan, OledPlan, PlannedPart, SpiLedsPlan

PART: Final = HardwareError.exit_code

NEW_KERNEL: Final = (6, 6)
"""From this kernel on, the original RPi.GPIO has other numbers for the pins than the kernel."""

READ_AND_WRITE: Final = 0o6

CLASSES: Final = {"spidev": "spi", "snd": "alsa"}
"""The class of a driver, where its devices have another name. Source: proc(5), ``/proc/devices``."""

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


def checks(context: DoctorContext, read_plan: ReadPlan, *, hidden: Finding | None = None) -> list[Check]:
    """Return the checks of the parts.

    Args:
        context: whose parts.
        read_plan: reads the settings of the parts; raises ``ConfigError``.
        hidden: that this user cannot read them; None if he can.
    """
    after = ("H1",)
    before_parts = ("H1", "H2", "H3", "H4", "H5")
    return [
        Check("H1", "board", (lambda: hidden) if hidden else partial(check_board, read_plan)),
        Check("H2", "gpio-library", partial(check_library, context, read_plan), after),
        Check("H3", "devices", partial(check_devices, context, read_plan), after),
        Check("H4", "device-rights", partial(check_rights, context, read_plan), ("H1", "H3", "H5")),
        Check("H5", "unit-devices", partial(check_unit, context, read_plan), after),
        *(
            Check(f"H{number}", sort, partial(check_part, context, read_plan, sort), before_parts)
            for number, sort in enumerate(SORTS, start=6)
        ),
        Check("H10", "drop-in", partial(check_drop_ins, context, read_plan), ("H1", "H5")),
        Check("H11", "container", partial(check_container, context, read_plan), after),
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
    used = read_plan().pin_library
    if used == GPIOD:
        return _check_gpiod()
    if used != RPI_GPIO:
        return ok("No part is on a pin.")
    kernel, model = context.line("proc/sys/kernel/osrelease"), context.line("proc/device-tree/model")
    facts = {"kernel": kernel, "model": model}
    provider = library_of(RPI_GPIO)
    if provider is None:
        remedy = f'{how_to_install("rpi-lgpio")}; or set gpio = "{GPIOD}" below [hardware].'
        return fail("The module RPi.GPIO is not installed.", remedy, PART, provider="none", **facts)
    facts |= {"provider": provider.package, "version": provider.version, "module": provider.path}
    if provider.package == "RPi.GPIO" and ("Raspberry Pi 5" in model or _version_of(kernel) >= NEW_KERNEL):
        machine = model if "Raspberry Pi 5" in model else f"kernel {kernel}"
        instead = (
            f'Set gpio = "{GPIOD}" below [hardware]; or remove RPi.GPIO and take rpi-lgpio in its place.'
        )
        step = f"{instead} {how_to_install('rpi-lgpio')}"
        return fail(f"The original RPi.GPIO does not work on {machine}.", step, PART, **facts)
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
    for group in [context.unit.get("Group", ""), *context.unit.get("SupplementaryGroups", "").split()]:
        if group and context.gid_of(group) is None:
            return fail(
                f"The unit of the service names the group {group}, which does not exist: the service cannot start.",
                f"sudo systemd-sysusers, or: sudo groupadd --system {group}; then: {RESTART}",
                PART,
                **facts,
            )
    for part, need in _needs(plan):
        paths = _found(context, need)
        if not any(may_use(account, path) for path in paths):
            return fail(
                f"{account.name} has no permission to use {paths[0]}, which the {part.name} needs.",
                f"sudo usermod -aG {need.group} {account.name}, then log in again; for the service add"
                f" SupplementaryGroups={need.group} in a drop-in: systemctl edit {UNIT}",
                PART,
                **facts,
            )
    return ok(f"{account.name} may use every device that a part needs.", **facts)


def check_unit(context: DoctorContext, read_plan: ReadPlan) -> Finding:
    """Check whether systemd lets the service see those devices."""
    plan, unit = read_plan(), context.unit
    if unit.get("LoadState") != "loaded":
        return ok("systemd does not start this speaker's service, so it keeps nothing from it.")
    hidden = _hidden_part(context, plan)
    if hidden is not None:
        drop_in = _drop_ins_of(plan).get(f"{'panel' if hidden.sort == 'panel' else 'board'}.conf", "")
        return fail(
            f"systemd keeps what the {hidden.name} needs from the service: the drop-in of the board is missing, or does"
            " not open it.",
            f"{_enabling(plan, hidden.sort)}; or put {drop_in or 'a drop-in'} of deploy/systemd into"
            f" /etc/systemd/system/{UNIT}.d, then: sudo systemctl daemon-reload; {RESTART}",
            PART,
            allowed=unit.get("DeviceAllow", ""),
        )
    return ok("systemd lets the service open all that its parts need.", allowed=unit.get("DeviceAllow", ""))


def check_drop_ins(context: DoctorContext, read_plan: ReadPlan) -> Finding:
    """Check whether the installed drop-ins are those of the parts that are set."""
    plan, unit = read_plan(), context.unit
    if unit.get("LoadState") != "loaded":
        return skipped("systemd does not start this speaker's service.")
    wanted = _drop_ins_of(plan)
    for path in map(Path, unit.get("DropInPaths", "").split()):
        if path.name not in {"board.conf", "panel.conf"}:
            continue
        if path.name not in wanted:
            return warn(
                f"{path} opens devices to the service, and no part that is set needs them.",
                "Set the board (device-auth hardware list), or remove that file; then: sudo systemctl daemon-reload;"
                f" {RESTART}",
            )
        if not is_copy(context.read(str(path).lstrip("/")), wanted[path.name]):
            return warn(
                f"{path} is not the drop-in {wanted[path.name]} of this version: it is another board's, or was changed.",
                f"If that is not intended: {_enabling(plan, 'panel' if path.name == 'panel.conf' else '')}",
            )
    return ok("The drop-ins are those of the parts that are set.", drop_ins=unit.get("DropInPaths", ""))


def check_container(context: DoctorContext, read_plan: ReadPlan) -> Finding:
    """Check whether a container keeps from the parts what they need. Source: systemd's "Container Interface"."""
    kind = container_kind(context.root)
    if not kind:
        return ok("This runs in no container.")
    if read_plan().pin_library == RPI_GPIO and not context.line("proc/device-tree/model"):
        return warn(
            f"This runs in a container ({kind}), where the model of the board cannot be read: rpi-lgpio does not work.",
            'Set gpio = "gpiod" in [hardware], or the variable RPI_LGPIO_REVISION; and pass the device in, such as'
            " --device /dev/gpiochip0.",
            container=kind,
        )
    return ok(
        f"This runs in a container ({kind}): devices must be passed in, and the link needs a volume (S3).",
        container=kind,
    )


def check_part(context: DoctorContext, read_plan: ReadPlan, sort: str) -> Finding:
    """Open the parts of a sort for a moment: nothing else shows whether they can be used."""
    plan = read_plan()
    wanted = tuple(part for part in plan.parts if part.sort == sort and part.kind != "off")
    if not wanted:
        return skipped(f"This speaker has no {sort}.")
    if context.daemon.is_running:
        return skipped(f"Not touched: the service is using the {sort}, and reports if it fails (D7).")
    if not context.is_ours:
        return context.refused()
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
    if part.pins and plan.gpio == RPI_GPIO:
        yield Need(
            "dev/gpiochip*", "gpio", "Is this a Raspberry Pi with a kernel of 4.8 or newer? See: uname -a"
        )
    elif part.pins and plan.gpio == GPIOD:
        yield Need(plan.chip.lstrip("/"), "gpio", "See which chips there are: gpiodetect")
    match part:
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


def _hidden_part(context: DoctorContext, plan: BoardPlan) -> PlannedPart | None:
    """Return the first part of which systemd keeps something from the service."""
    unit = context.unit
    allowed = set(unit.get("DeviceAllow", "").split())
    is_closed = unit.get("DevicePolicy") in {"closed", "strict"} or bool(allowed)
    for part, need in _needs(plan):
        if unit.get("PrivateDevices") == "yes":
            return part
        paths = [context.root / need.pattern, *_found(context, need)]
        names = {name for path in paths for name in _names_of(path, context)}
        if is_closed and not names & allowed:
            return part
    writable = unit.get("ReadWritePaths", "").split()
    is_sysfs_closed = unit.get("ProtectKernelTunables") == "yes" and not any(
        path.lstrip("-+").startswith("/sys") for path in writable
    )
    leds = (part for part in plan.parts if isinstance(part, KernelLedPlan))
    return next(leds, None) if is_sysfs_closed else None


def _names_of(path: Path, context: DoctorContext) -> Iterator[str]:
    """Yield the names by which ``DeviceAllow=`` may allow a device: its path, and the class of its driver."""
    real = path.resolve()
    for each in (path, real):
        with suppress(ValueError):
            yield f"/{each.relative_to(context.root)}"
    name = real.name if real.parent.name != "snd" else "snd"
    kind = name.rstrip("0123456789*").rstrip(".-").rstrip("0123456789")
    yield f"char-{CLASSES.get(kind, kind)}"


def _drop_ins_of(plan: BoardPlan) -> dict[str, str]:
    """Return which file of deploy/systemd each drop-in is a copy of, by the name that it is installed under."""
    wanted = {}
    others = [part for part in plan.parts if part.sort != "panel"]
    if any(isinstance(part, KernelLedPlan) for part in others):
        wanted["board.conf"] = "boards/kernel-led.conf"
    if any(True for part in others for _ in _needs_of(part, plan)):
        wanted["board.conf"] = f"boards/{'generic-led' if plan.board == 'none' else plan.board}.conf"
    for part in plan.parts:
        if isinstance(part, OledPlan | ConsolePlan):
            wanted["panel.conf"] = f"panels/{part.kind}.conf"
    return wanted


def _enabling(plan: BoardPlan, sort: str) -> str:
    """Return the command that puts the drop-in of the board, or of the panel, in place."""
    wanted = _drop_ins_of(plan)
    if sort == "panel":
        return f"sudo device-auth hardware enable --panel {Path(wanted.get('panel.conf', '')).stem}"
    name = Path(wanted.get("board.conf", "")).stem
    return f"sudo device-auth hardware enable {name}{'' if name == plan.board else ' --keep-settings'}"


def _found(context: DoctorContext, need: Need) -> list[Path]:
    return sorted(context.root.glob(need.pattern))


def _list(context: DoctorContext, plan: BoardPlan) -> str:
    return ", ".join(sorted({str(path) for _, need in _needs(plan) for path in _found(context, need)}))


def _described(part: PlannedPart) -> str:
    kind = f" ({part.kind})" if part.kind != part.name else ""
    return f"{part.name}{kind}" + (f" on {part.pins_in_words}" if part.pins else "")


def _version_of(kernel: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", kernel)
    return (int(found[1]), int(found[2])) if found else (0, 0)
