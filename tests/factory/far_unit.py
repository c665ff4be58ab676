"""A simulated unit behind a real sshd or a serial line: ``far_unit.py FOLDER SLOT factory VERB …``.

It is broken as the name of its slot says (``broken_unit.py``). All share this machine, so each has an address of its own
by which its board is known.
"""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent


def main() -> None:
    folder, slot, *words = sys.argv[1:]
    unit = Path(folder) / slot
    for name in ("state", "run", "root/etc"):
        (unit / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    # what the first start of a unit makes
    (unit / "root/etc/machine-id").write_text(f"{zlib.crc32(slot.encode()):032x}\n")
    os.environ["DEVICE_AUTH_SLOT"] = slot
    places = ["--simulate", "--state-dir", str(unit / "state"), "--runtime-dir", str(unit / "run")]
    if words[1] in {"wipe", "lock"}:
        places += ["--root", str(unit / "root")]
    command = [sys.executable, str(HERE / "broken_unit.py"), *words, *places]
    if words[1] != "facts":
        os.execv(command[0], command)  # noqa: S606  the unit takes this process
    verb = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert verb.stdout is not None
    for line in verb.stdout:
        told = json.loads(line)
        if told["event"] == "unit":
            told["eth_mac"] = f"02:00:{zlib.crc32(slot.encode()).to_bytes(4, 'big').hex(':')}"
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    sys.exit(verb.wait())


if __name__ == "__main__":
    main()
