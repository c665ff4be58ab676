"""``hardware enable`` as root types it, in an /etc of its own; and killed at every change that it makes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Final

import pytest

from device_auth.tools.drop_ins import FOLDER
from tests.command import ROOT, bare_environment
from tests.enabling_world import RESTARTED, EnablingWorld, shipped
from tests.unit.test_config import COMPLETE
from tests.waiting import LONG

if TYPE_CHECKING:
    from pathlib import Path

LIBRARIES: Final = ROOT / "tests" / "stand_ins" / "modules"
ENABLE: Final = ("hardware", "enable", "generic-led", "--no-test")

PRIVATE_ETC: Final = """\
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$0"
cp -a /etc/. "$0"
mount --bind "$0" /etc
mkdir -p /etc/device-auth /etc/systemd/system
rm -rf /etc/systemd/system/device-auth.service.d
grep -q ^gpio: /etc/group || echo gpio:x:9970: >> /etc/group
grep -q ^device-auth: /etc/group || echo device-auth:x:9971: >> /etc/group
grep -q ^i2c: /etc/group || echo i2c:x:9972: >> /etc/group
"""

WITHOUT_SYSTEMD: Final = "test ! -d /run/systemd/system || mount -t tmpfs tmpfs /run/systemd\n"

DRIVER: Final = """\
import sys
from pathlib import Path
from device_auth.cli import hardware
from device_auth.cli.main import read_arguments
sys.exit(hardware.run(read_arguments(sys.argv[2:]), root=Path(sys.argv[1]), euid=0, environ={}))
"""

CHANGES: Final = "openat,write,renameat,unlinkat,unlink"
"""What is seen of a process that was killed; a sync is not."""

ONLY_ROOT: Final = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def in_private_etc(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with an /etc of its own, which is gone afterwards."""
    folder.mkdir(exist_ok=True)
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", PRIVATE_ETC + WITHOUT_SYSTEMD + script, str(folder)],
        cwd=ROOT,
        env={**bare_environment(), "PYTHONPATH": str(LIBRARIES), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    if "permission denied" in ended.stderr and "mount" in ended.stderr:
        pytest.skip(f"cannot mount here: {ended.stderr}")
    return ended


@ONLY_ROOT
def test_root_switches_a_board_on_where_systemd_does_not_run(tmp_path: Path) -> None:
    ended = in_private_etc(
        tmp_path / "etc",
        f"""\
printf '%s' '{COMPLETE}' > /etc/device-auth/config.toml
chgrp device-auth /etc/device-auth/config.toml
chmod 640 /etc/device-auth/config.toml
$PYTHON -m device_auth {" ".join(ENABLE)}
stat -c '%a %U:%G' /etc/device-auth/config.toml
cat /etc/device-auth/config.toml /{FOLDER}/board.conf
$PYTHON -m device_auth config check
$PYTHON -m device_auth hardware disable
test ! -e /{FOLDER}
tail -n 2 /etc/device-auth/config.toml
""",
    )

    assert ended.returncode == 0, ended.stderr
    assert "640 root:device-auth\n" + COMPLETE in ended.stdout
    assert (
        '[hardware]\nboard = "generic-led"\ngpio = "gpiod"\n' + shipped("boards", "generic-led")
        in ended.stdout
    )
    assert ended.stdout.endswith('board = "none"\n# gpio = "gpiod"\n')
    assert "systemd does not run here" in ended.stderr


@ONLY_ROOT
def test_on_a_read_only_root_it_is_told_what_belongs_into_the_image(tmp_path: Path) -> None:
    ended = in_private_etc(
        tmp_path / "etc",
        f"""\
mount -o remount,bind,ro /etc
$PYTHON -m device_auth {" ".join(ENABLE)} --panel ssd1306 || exit $?
""",
    )

    assert ended.returncode == 78, ended.stderr
    assert "the root is read-only: this belongs into the image" in ended.stderr
    for path in (f"/{FOLDER}/board.conf", f"/{FOLDER}/panel.conf", "/etc/device-auth/config.toml"):
        assert path in ended.stderr
    assert ended.stdout == ""


@ONLY_ROOT
def test_on_a_read_only_root_with_the_drop_in_the_settings_go_into_the_state(tmp_path: Path) -> None:
    ended = in_private_etc(
        tmp_path / "etc",
        f"""\
mount -t tmpfs tmpfs /var/lib
install -d -m 700 -o 9971 /var/lib/device-auth
install -D -m 644 deploy/systemd/boards/generic-led.conf /{FOLDER}/board.conf
mount -o remount,bind,ro /etc
$PYTHON -m device_auth {" ".join(ENABLE)}
stat -c '%a %u' /var/lib/device-auth/settings.toml
cat /var/lib/device-auth/settings.toml
$PYTHON -m device_auth {" ".join(ENABLE)} --json
$PYTHON -m device_auth hardware disable
""",
    )

    assert ended.returncode == 0, ended.stderr
    assert "40 9971\n# What was set on this unit" in ended.stdout
    assert '[hardware]\nboard = "generic-led"\ngpio = "gpiod"\n' in ended.stdout
    assert '"changed": false' in ended.stdout
    assert ended.stdout.endswith(
        f"left       /{FOLDER}/board.conf\nwritten    /var/lib/device-auth/settings.toml\n"
    )


def enable(root: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """Run the verb on a root folder, behind another program's words."""
    return subprocess.run(
        [*before, sys.executable, "-c", DRIVER, str(root), *ENABLE],
        cwd=ROOT,
        env={**bare_environment(), "PYTHONPATH": str(LIBRARIES), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


def changing_calls(log: str, root: Path) -> list[tuple[str, int]]:
    """Return each call that touches our files, with its number among the calls of its name."""
    counts: dict[str, int] = {}
    found = []
    for line in log.splitlines():
        name = line.partition("(")[0]
        counts[name] = counts.get(name, 0) + 1
        is_write = name != "openat" or "O_CREAT" in line
        if is_write and str(root) in line:
            found.append((name, counts[name]))
    return found


def begin(root: Path, capsys: pytest.CaptureFixture[str]) -> EnablingWorld:
    world = EnablingWorld(root, capsys)
    world.boot()
    world.write_settings(COMPLETE)
    world.folder.mkdir(parents=True)
    (world.folder / "board.conf").write_text(shipped("boards", "respeaker-2mic"))
    return world


@pytest.mark.slow
@pytest.mark.strace
def test_killed_at_any_change_it_is_mended_by_the_next_run(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    tmp_path = tmp_path_factory.mktemp("killed")  # the path of a socket below it has few bytes
    trial = begin(tmp_path / "trial", capsys)
    log = tmp_path / "log"
    with trial.served():
        ended = enable(trial.root, "strace", "-y", "-o", str(log), "-e", f"trace={CHANGES}")
    assert ended.returncode == 0, ended.stderr
    calls = changing_calls(log.read_text(), trial.root)
    final = trial.settings.read_text()
    assert len(calls) >= 10

    for name, number in calls:
        world = begin(tmp_path / f"{name}-{number}", capsys)
        with world.served():
            killed = enable(
                world.root, "strace", "-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={number}"
            )
            assert killed.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}, killed.stderr
            judge_half_done(world, final)
            world.asked()

            assert enable(world.root).returncode == 0

        assert world.settings.read_text() == final
        assert world.in_place() == {"board.conf": shipped("boards", "generic-led")}
        assert sorted(path.name for path in world.settings.parent.iterdir()) == ["config.toml"]
        assert not world.is_restart_due
        assert world.asked() == RESTARTED, (name, number)


def judge_half_done(world: EnablingWorld, final: str) -> None:
    """See that every file is whole, and no setting needs a drop-in that is not there."""
    text = world.settings.read_text()
    assert text in {COMPLETE, final}
    board = tomllib.loads(text).get("hardware", {}).get("board")
    drop_in = world.in_place()["board.conf"]
    assert drop_in in {shipped("boards", "respeaker-2mic"), shipped("boards", "generic-led")}
    assert board is None or drop_in == shipped("boards", "generic-led")
