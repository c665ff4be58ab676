"""How a Python package is added to this installation: from Debian's archive, or by pip in its virtual environment.

The name of this program is not on PyPI, where it could be somebody else's: no hint says ``pip install device-auth[…]``.
"""

import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

from device_auth import __version__

PACKAGED: Final = "/usr/share/device-auth"
"""The folder of the modules where Debian's package installs them."""

DEBIAN_NAMES: Final = {
    "cryptography": "python3-cryptography",
    "flask": "python3-flask",
    "gpiod": "python3-libgpiod",
    "luma.oled": "python3-luma.oled",
    "PySocks": "python3-socks",
    "qrcode": "python3-qrcode",
    "requests": "python3-requests",
    "spidev": "python3-spidev",
}
"""The packages of PyPI that a hint may name, and those of Debian and Raspberry Pi OS."""

STATION: Final = "alembic pillow 'psycopg[binary]' rich 'sqlalchemy>=2.0' zxing-cpp"
"""What the factory's station needs of PyPI (the extra ``factory``), as words of a command line."""

OF_STATION: Final = frozenset({"alembic", "pillow", "psycopg", "rich", "sqlalchemy", "zxing-cpp"})
"""Who lacks one of these lacks most of them."""

COMPILED: Final = frozenset({"spidev"})
"""PyPI has only the sources of these, for a C compiler and Python's headers."""

COMPILED_ON_32_BITS: Final = frozenset({"gpiod"})
"""PyPI has wheels of these for 64 bits only."""

NO_WHEEL: Final = (3, 13)
"""From this Python on lgpio, which rpi-lgpio needs, has no wheel; Debian 13 lacks the library to build it with."""

GPIOD_2: Final = (3, 13)
"""From the Debian with this Python on, python3-libgpiod is version 2."""


class Installation(NamedTuple):
    """Where this program is installed.

    Attributes:
        modules: the folder or the archive that it was imported from.
        python: the interpreter.
        version: of the interpreter, the first two numbers.
        is_environment: whether that is the interpreter of a virtual environment.
        is_of_system: whether the system's package manager owns the interpreter's packages (PEP 668).
        is_ours: whether this user may write to the environment.
        is_32_bit: whether the interpreter is.
    """

    modules: str
    python: str
    version: tuple[int, int]
    is_environment: bool
    is_of_system: bool
    is_ours: bool
    is_32_bit: bool = False

    def how_to_install(self, package: str, *, again: bool = False) -> str:
        """Return the words that tell a person how to install a package of PyPI, or one in its place.

        No full stop ends them: it would be copied with the command.

        Args:
            package: its name there.
            again: whether it may be there, but not whole.
        """
        if self._uses_apt and package in OF_STATION:
            return "The factory's station needs a virtual environment of its own, see docs/factory.md: Debian's packages are too old"
        if self._uses_apt:
            return self._by_apt(package, " --reinstall" if again else "")
        python = self.python if self.is_ours else f"sudo {self.python}"
        if package == "rpi-lgpio" and self.version >= NO_WHEEL:
            return (
                "Install it on Raspberry Pi OS: sudo apt install python3-rpi-lgpio; this environment must then be made with"
                " python3 -m venv --system-site-packages, as pip finds no lgpio for this Python"
            )
        compiled = COMPILED | COMPILED_ON_32_BITS if self.is_32_bit else COMPILED
        first = "sudo apt install gcc python3-dev && " if package in compiled else ""
        package = STATION if package in OF_STATION else package
        option = " --force-reinstall" if again else ""
        return f"Install it: {first}{python} -m pip install{option} {package}"

    @property
    def _uses_apt(self) -> bool:
        return self.modules == PACKAGED or (self.is_of_system and not self.is_environment)

    def _by_apt(self, package: str, option: str) -> str:
        rpi_gpio = (
            "python3-rpi-lgpio (on Raspberry Pi OS) or python3-rpi.gpio (on Debian for arm64 and armhf)"
        )
        if package == "gpiod" and self.version < GPIOD_2:
            return f"Debian 12 has only version 1 of it. In its place: sudo apt install {rpi_gpio}"
        name = rpi_gpio if package == "rpi-lgpio" else DEBIAN_NAMES[package]
        return f"Install it: sudo apt install{option} {name}"


def this_installation() -> Installation:
    """Return the installation that runs now."""
    # sysconfig costs more than it tells: the marker lies beside the standard library.
    marker = Path(os.__file__).parent / "EXTERNALLY-MANAGED"
    return Installation(
        modules=str(Path(__file__).parent.parent),
        python=sys.executable or "python3",
        version=sys.version_info[:2],
        is_environment=sys.prefix != sys.base_prefix,
        is_of_system=marker.exists(),
        is_ours=os.access(sys.prefix, os.W_OK),
        is_32_bit=sys.maxsize < 2**32,
    )


def how_to_install_sibling(package: str) -> str:
    """Return how a Debian package of this program is installed beside the one that is there; no full stop ends the words."""
    return (
        "Install the package that was built with this one: sudo apt install"
        f" ./{package}_{__version__}*_all.deb"
    )


def how_to_install(package: str, *, again: bool = False) -> str:
    """Return how a package of PyPI is installed for this program; see ``Installation``."""
    return this_installation().how_to_install(package, again=again)
