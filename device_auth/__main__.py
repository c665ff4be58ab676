"""The command ``device-auth``, and ``python -m device_auth``: answers ``token`` and ``status`` at once, else runs the verb."""

import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command of this process, and return its exit code."""
    if sys.argv[1:] in (["token"], ["status"]):
        from device_auth.cli.quick_answers import print_quickly

        try:
            if print_quickly(sys.argv[1]):
                return 0
        except KeyboardInterrupt:
            return INTERRUPTED
    from device_auth.cli.main import main as run_verb

    return run_verb()


if __name__ == "__main__":
    sys.exit(main())
