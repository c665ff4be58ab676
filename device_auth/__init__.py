"""Link a screenless speaker to its owner's account, and keep it linked.

The machine that decides everything is :mod:`device_auth.core.linking`; start reading there.
"""

from typing import Final

__version__: Final = "0.1.0"
