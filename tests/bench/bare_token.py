"""The least that prints an access token: reads the token file, heeds nothing.

Run by ``kept_token.py``: python tests/bench/bare_token.py FILE
"""

import json
import sys

with open(sys.argv[1]) as file:  # noqa: PTH123  pathlib would be loaded for nothing
    print(json.load(file)["access_token"])
