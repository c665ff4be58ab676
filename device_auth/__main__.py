"""``python -m device_auth``: the same as the command ``device-auth``."""

import sys

from device_auth.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
