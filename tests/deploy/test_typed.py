"""The walk by hand: each command of the page is typed in the booted machine."""

import re
import subprocess
from pathlib import Path
from typing import Final

from tests.command import ROOT
from tests.deploy import typed
from tests.deploy.typed import blocks_of

PAGE: Final = (ROOT / "deploy" / "README.md").read_text()
WALK: Final = (ROOT / "tests" / "deploy" / "guest" / "by_hand.sh").read_text()


def test_each_block_of_the_page_is_typed_in_the_walk() -> None:
    typed_there = set(re.findall(r"^walk ([a-z-]+)$", WALK, re.MULTILINE))

    assert {block.heading for block in blocks_of(PAGE)} == typed_there
    assert all(block.commands for block in blocks_of(PAGE))


def test_a_block_ends_with_the_first_command_that_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "## Log in, again\n\n```console\n$ echo 'it is'\n$ false\n$ echo never\n```\n\ntext\n\n### Next\n\n```console\n$ true\n```\n"
    )
    typed.main(page, tmp_path)
    ran = subprocess.run(["bash", tmp_path / "01-log-in-again"], capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert ran.stdout == "$ echo 'it is'\nit is\n$ false\n"
    assert (tmp_path / "02-next").exists()


def test_the_settings_are_checked_before_anything_is_started() -> None:
    commands = [command for block in blocks_of(PAGE) for command in block.commands]
    checked = commands.index("sudo device-auth config check")
    started = next(at for at, command in enumerate(commands) if "enable --now" in command)

    # started first, a speaker without settings stayed without them until somebody restarted it
    assert checked < started
