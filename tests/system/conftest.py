"""The simulated Amazon of a system test, and a speaker beside it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Options
from device_auth.simulator.server import Running, serve
from tests.daemon_process import Household, Living
from tests.ports import free_port
from tests.simulated_speaker import strict


@pytest.fixture
def options() -> Options:
    """Return what the simulated Amazon does; a file of tests may have its own."""
    return strict(interval=1)


@pytest.fixture
def running(options: Options) -> Iterator[Running]:
    with serve(Amazon(options, clock=time.monotonic), port=free_port()) as running:
        yield running


@pytest.fixture
def household(tmp_path: Path, running: Running) -> Household:
    return Household(tmp_path, running)


@pytest.fixture
def living(household: Household) -> Iterator[Living]:
    with household.living() as living:
        yield living
