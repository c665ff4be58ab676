"""The command ``device-auth``, and ``python -m device_auth``: answers ``token`` and ``status`` at once, else runs the verb."""

import gc
import sys

INTERRUPTED = 130

LATE = ("calendar", "mimetypes", "selectors", "stringprep", "traceback")
"""Modules that logging, socket and requests import, and no verb uses unless something goes wrong."""


def main() -> int:
    """Run the command of this process, and return its exit code."""
    if sys.argv[1:] in (["token"], ["status"]):
        from device_auth.cli.quick_answers import print_quickly

        try:
            if print_quickly(sys.argv[1]):
                return 0
        except KeyboardInterrupt:
            return INTERRUPTED
    gc.disable()  # until the verb runs: no module that is loaded is garbage
    from device_auth.late_modules import load_late

    load_late(*LATE)
    load_argparse()
    from device_auth.cli.main import main as run_verb

    return run_verb()


def load_argparse() -> None:
    """Load argparse without gettext, which looks for files of translations at each of its sentences: there are none."""
    sys.modules["gettext"] = stand_in = type(sys)("gettext")
    vars(stand_in).update(gettext=str, ngettext=lambda one, many, count: one if count == 1 else many)
    import argparse  # noqa: F401  loaded here

    del sys.modules["gettext"]


if __name__ == "__main__":
    sys.exit(main())
