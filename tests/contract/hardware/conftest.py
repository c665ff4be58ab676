"""Every test here is run once for each bench."""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from tests.stand_ins.fixtures import importable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.hardware.benches import ButtonBench, LightBench

BENCHES = import_module(os.environ.get("DEVICE_AUTH_BENCHES", "tests.contract.hardware.benches"))


@contextmanager
def libraries() -> Iterator[None]:
    """Return each test stand-ins of its own; a real library is imported once, for its threads outlive it."""
    with importable(*BENCHES.STAND_INS) if BENCHES.STAND_INS else nullcontext():
        yield


@pytest.fixture(params=list(BENCHES.LIGHTS))
def light_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LightBench]:
    with libraries():
        yield BENCHES.LIGHTS[request.param](tmp_path)


@pytest.fixture(params=list(BENCHES.BUTTONS))
def button_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ButtonBench]:
    with libraries():
        yield BENCHES.BUTTONS[request.param](tmp_path)
