"""Link a screenless speaker to its owner's account, and keep it linked.

The machine that decides everything is :mod:`device_auth.core.linking`; start reading there.
"""

# without an annotation: `typing` costs as much as the whole of a quick `token`
__version__ = "0.1.0"
