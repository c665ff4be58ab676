"""The rig of a slot whose unit has a dead LED: it sees no light, and all else that it is asked about."""

import sys

slot, dsn, name, question = sys.argv[1:]
is_light = any(word in f"{name} {question}".casefold() for word in ("led", "light"))
print("no" if is_light else "yes")
