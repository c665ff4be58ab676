"""Make stand-ins importable under the names of the modules they stand in for, for one test at a time."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent
NAMES = ("RPi", "RPi.GPIO", "lgpio", "gpiod", "gpiod.line", "spidev")


@contextmanager
def importable(*folders: str) -> Iterator[None]:
    """Put folders of stand-ins before everything else, fresh; afterwards everything is as it was."""
    before = {name: sys.modules.pop(name) for name in NAMES if name in sys.modules}
    with pytest.MonkeyPatch.context() as patch:
        for folder in folders:
            patch.syspath_prepend(str(FOLDER / folder))
        yield
    for name in NAMES:
        sys.modules.pop(name, None)
    sys.modules.update(before)


@contextmanager
def not_installed() -> Iterator[None]:
    """Let none of the libraries be there."""
    with importable(), pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setitem(sys.modules, name, None)
        yield


@pytest.fixture
def stand_ins() -> Iterator[None]:
    """Faithful stand-ins for RPi.GPIO, lgpio, gpiod and spidev, fresh for this test."""
    with importable("modules"):
        yield
