"""A Python program begins as root, loads the whole product, and goes on as a user without rights: to that user clone and interpreter may be closed."""

from typing import Final

NOBODY: Final = 65534

AS_ANOTHER: Final = (
    "import importlib, os, pkgutil, sys, device_auth, hardware\n"
    "import encodings.idna, encodings.utf_8_sig, unicodedata, urllib.request\n"
    "for package in (device_auth, hardware):\n"
    "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
    "        if not {'simulator', 'station', '__main__'} & {*found.name.split('.')}:\n"
    "            try: importlib.import_module(found.name)\n"
    "            except ImportError: pass  # a part's library is missing\n"
    "groups = [int(gid) for gid in sys.argv.pop(1).split(',') if gid]\n"
    f"os.setgroups(groups); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
)
"""The beginning of the program; its first argument is the groups, as numbers with commas between."""
