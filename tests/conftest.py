"""What every test may count on, wherever the tests are started."""

import signal


def pytest_configure() -> None:
    # A job in the background of a shell ignores interrupts, and so do all its children: tests would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_teardown() -> None:
    # A verb that ran in this process and did not put this back would keep a later test from being interrupted.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
