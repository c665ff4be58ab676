"""docs/export.md: its names are the program's, and its example refreshes a link that was handed over."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from device_auth.cli.export import FORMATS
from device_auth.cli.main import main
from device_auth.core.models import Mark
from device_auth.tools.exports_sdk import LAYOUTS
from device_auth.tools.exports_text import write_env, write_json
from tests.links import make_link
from tests.unit.test_exports_text import UNIT
from tests.world import open_world

TEXT: Final = (Path(__file__).parent.parent.parent / "docs" / "export.md").read_text()
SCRIPTS: Final = dict(re.findall(r"```sh\n# (\S+)\n(.*?)```", TEXT, re.DOTALL))
NAMES: Final = set(re.findall(r"`([^`\n]+)`", TEXT))


def test_every_format_layout_and_name_is_told() -> None:
    variables = re.findall(r"^(\w+)=", write_env(make_link(), UNIT).decode(), re.MULTILINE)

    assert {*FORMATS, *LAYOUTS, *variables, *json.loads(write_json(make_link(), UNIT))} <= NAMES


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.usefixtures("own_home")
def test_a_shell_goes_on_with_a_link_that_was_handed_over(tmp_path: Path) -> None:
    with open_world(tmp_path) as world:
        world.clock.plan(20, lambda: world.amazon.approve(world.amazon.pairs()[-1].user_code))
        world.link()
        places = ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]
        assert main(["export", "env", "--to", str(tmp_path / "link.env"), *places]) == 0

        ran = subprocess.run(
            ["sh", "-u", "-c", SCRIPTS["refresh"]], cwd=tmp_path, capture_output=True, check=True
        )

        assert json.loads(ran.stdout)["access_token"].startswith("Sim|")
        assert world.complaints() == []
        stored = world.stored()
        assert stored is not None
        assert stored.mark is Mark.HANDED_OVER
