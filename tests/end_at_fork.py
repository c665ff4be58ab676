"""A signal that meets a new child process before its first step: run as a program, with a function's name before a command line."""

import os
import signal
import sys
from collections.abc import Callable


def end_children_of(function: str, number: signal.Signals = signal.SIGTERM) -> None:
    """Have each child that a function forks get a signal when it is about to run its first line."""

    def trace_first_line() -> None:
        frame = sys._getframe()
        while frame.f_code.co_name != function:
            assert frame.f_back is not None
            frame = frame.f_back

        def end(*_: object) -> None:
            frame.f_trace = None
            sys.settrace(None)
            os.kill(os.getpid(), number)

        frame.f_trace = end
        sys.settrace(lambda *_: None)

    # what the hook itself raised would be ignored
    os.register_at_fork(after_in_child=trace_first_line)


def in_a_child(function: str, job: Callable[[], object]) -> str:
    """Do a job in a forked child of this process, whose children end as ``end_children_of`` says; return how it ended, in words."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        end_children_of(function)
        try:
            job()
            os.write(writing, b"done;")
        except BaseException as error:  # noqa: BLE001  its name is the result
            os.write(writing, f"{type(error).__name__};".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as ended:  # noqa: PTH123  an open pipe has no path
        return ended.read().decode()


if __name__ == "__main__":
    from device_auth.cli.main import main

    end_children_of(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
