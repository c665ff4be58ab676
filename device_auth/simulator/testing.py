"""The simulated Amazon for tests: fixtures that pytest finds by itself once the package is installed.

``simulated_amazon`` is one that runs; ``start_simulated_amazon`` starts others, with options, TLS or a clock of the
test's own. Both stop at the end of the test. docs/simulator.md shows their use; the extra ``simulator`` is needed.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from device_auth.simulator.models import Options
    from device_auth.simulator.server import Running


class StartSimulatedAmazon(Protocol):
    """Starts a simulated Amazon on a free port of loopback, which runs until the test ends."""

    def __call__(
        self,
        options: "Options | None" = None,
        *,
        tls: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> "Running":
        """Start one.

        Args:
            options: its behaviour; None for that of LWA.
            tls: whether it speaks TLS, with an authority of its own: the ``ca_file`` of what is returned.
            clock: monotonic seconds; None for real ones.
        """
        ...


@pytest.fixture
def start_simulated_amazon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartSimulatedAmazon]:
    """Return a function that starts simulated Amazons."""
    # imported only where a test asks for one: pytest reads this file at each start
    from device_auth.simulator.amazon import Amazon
    from device_auth.simulator.models import Options
    from device_auth.simulator.server import serve
    from device_auth.world.clock import BootClock

    with ExitStack() as running:

        def start(
            options: "Options | None" = None, *, tls: bool = False, clock: Callable[[], float] | None = None
        ) -> "Running":
            folder = tmp_path_factory.mktemp("authority") if tls else None
            amazon = Amazon(options or Options(), clock=clock or BootClock().now)
            return running.enter_context(serve(amazon, tls=folder))

        yield start


@pytest.fixture
def simulated_amazon(start_simulated_amazon: StartSimulatedAmazon) -> "Running":
    """Return a simulated Amazon that behaves as LWA, over plain http."""
    return start_simulated_amazon()
