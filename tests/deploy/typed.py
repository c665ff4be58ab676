"""The commands of a page, as scripts: ``typed.py PAGE FOLDER`` writes one for each block; it needs the standard library alone."""

import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple


class Block(NamedTuple):
    """The commands that stand together, and the heading above them in small letters and dashes."""

    heading: str
    commands: tuple[str, ...]


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of commands in a page of Markdown, in its order."""
    found, heading = [], ""
    for part in re.finditer(r"^#+ ([^\n]*)$|^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        if part[1]:
            heading = re.sub(r"[^a-z]+", "-", part[1].lower()).strip("-")
        else:
            found.append(Block(heading, tuple(re.findall(r"^\$ (.*)$", part[2], re.MULTILINE))))
    return found


def main(page: Path, folder: Path) -> None:
    """Write a script for each block, NUMBER-HEADING: it prints each command, runs it, and ends with the first that fails."""
    for number, block in enumerate(blocks_of(page.read_text()), start=1):
        lines = [
            line for command in block.commands for line in (f"echo {shlex.quote(f'$ {command}')}", command)
        ]
        (folder / f"{number:02}-{block.heading}").write_text("\n".join(["set -e", *lines, ""]))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
