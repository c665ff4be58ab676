"""In the virtual machine: one verb of the factory on the machine's own unit, as a station runs it.

Its output is shown; the rig approves the code, ends the link when the unit waits for that, and answers each question with yes.
Ends with the unit's exit code, or with 99 where the result is missing or not proved.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp
from uuid import UUID

from device_auth.core.models import Monotonic, Secret
from device_auth.factory.station.amazon import StationAmazon
from device_auth.factory.talk import (
    AskEvent,
    CodeEvent,
    Header,
    Masks,
    ResultEvent,
    TalkReader,
    WaitEvent,
    write_answer,
    write_header,
)

CLIENT = "amzn1.application-oa2-client.51000000000000000000000000000005"
DSN = "G0001"
NOT_PROVED = 99


def main(words: list[str]) -> int:
    """Run the verb, and return how it ended."""
    key = os.urandom(32)
    with (
        StationAmazon(
            Path(mkdtemp(prefix="rig-")), "127.0.0.1", 0, lambda: Monotonic(time.monotonic())
        ) as amazon,
        amazon.owner(CLIENT, DSN) as owner,
    ):
        if words[0] == "link-test":
            words = [*words, "--base-url", owner.base_url]
        unit = subprocess.Popen(
            ["/usr/bin/device-auth", "factory", *words, "--talk"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert unit.stdin is not None
        assert unit.stdout is not None

        def say(line: str) -> None:
            assert unit.stdin is not None
            unit.stdin.write(f"{line}\n".encode())
            unit.stdin.flush()

        reader = TalkReader(Masks(), key)
        say(write_header(Header(UUID(int=1), Secret(key.hex()), (), DSN, amazon.certificates)))
        for line in unit.stdout:
            print(line.decode(), end="", flush=True)
            for event in reader.feed(line):
                match event:
                    case CodeEvent():
                        owner.approve(event.user_code)
                    case WaitEvent(what="revocation"):
                        owner.revoke()
                    case AskEvent():
                        say(write_answer(event.name, "yes"))
                    case _:
                        pass
        code = unit.wait()
        print(*owner.complaints(), sep="\n", end="")
    result = reader.end()
    return (
        code if isinstance(result, ResultEvent) and result.is_proved and result.exit == code else NOT_PROVED
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
