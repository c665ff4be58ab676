"""What every test may count on, wherever the tests are started."""

import signal


def pytest_configure() -> None:
    # A job in the background of a shell ignores interrupts, and so do all its children: tests would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
