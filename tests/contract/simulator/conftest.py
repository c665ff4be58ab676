from collections.abc import Callable, Iterator

import pytest

from device_auth.core.models import DialectName
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.models import Options
from device_auth.simulator.server import Running
from device_auth.simulator.testing import StartSimulatedAmazon
from tests.simulated_speaker import Clock, Speaker, strict


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def options() -> Options:
    return strict()


@pytest.fixture
def running(start_simulated_amazon: StartSimulatedAmazon, options: Options, clock: Clock) -> Running:
    return start_simulated_amazon(options, clock=clock)


@pytest.fixture
def amazon(running: Running) -> Amazon:
    return running.amazon


@pytest.fixture
def new_speaker(running: Running) -> Iterator[Callable[[DialectName], Speaker]]:
    speakers: list[Speaker] = []

    def make(dialect: DialectName) -> Speaker:
        speakers.append(Speaker(running, dialect))
        return speakers[-1]

    yield make
    for speaker in speakers:
        speaker.close()


@pytest.fixture(params=list(DialectName))
def speaker(request: pytest.FixtureRequest, new_speaker: Callable[[DialectName], Speaker]) -> Speaker:
    return new_speaker(request.param)


@pytest.fixture
def lwa(new_speaker: Callable[[DialectName], Speaker]) -> Speaker:
    return new_speaker(DialectName.LWA)


@pytest.fixture
def rfc(new_speaker: Callable[[DialectName], Speaker]) -> Speaker:
    return new_speaker(DialectName.RFC8628)
