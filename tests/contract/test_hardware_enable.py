"""``hardware enable`` and ``disable`` on a machine of files: what they put where, and what they leave alone."""

from __future__ import annotations

import io
import stat
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from device_auth.cli.enabling import BOARDS, PANEL_KINDS
from device_auth.core.errors import StoreError
from device_auth.core.models import View
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.light import TABLE
from device_auth.tools import drop_ins
from tests.enabling_world import ABSENT, FAILED, OFF, RESTARTED, EnablingWorld, shipped, snapshot
from tests.stand_ins.fixtures import importable, not_installed
from tests.unit.test_config import COMPLETE

pytestmark = pytest.mark.usefixtures("few_authorities")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OF_A_PERSON = COMPLETE + "\n[hardware]  # the hat\nboard = 'none'\n# to be done\n"


@pytest.fixture
def libraries() -> Iterator[None]:
    with importable("modules"):
        yield


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str], libraries: None) -> EnablingWorld:
    del libraries
    world = EnablingWorld(tmp_path, capsys)
    world.write_settings(OF_A_PERSON)
    return world


def hardware_of(world: EnablingWorld) -> dict[str, object]:
    table: dict[str, object] = tomllib.loads(world.settings.read_text())["hardware"]
    return table


# ---------------------------------------------------------------------------------------------------------
# Files


def test_a_board_is_switched_on_in_both_places(world: EnablingWorld) -> None:
    assert world.run("enable", "respeaker-2mic") == 0

    assert world.in_place() == {"board.conf": shipped("boards", "respeaker-2mic")}
    assert stat.S_IMODE((world.folder / "board.conf").stat().st_mode) == 0o644
    assert hardware_of(world) == {"board": "respeaker-2mic", "gpio": "gpiod"}
    text = world.settings.read_text()
    assert text.startswith(COMPLETE)
    assert "[hardware]  # the hat\n" in text
    assert "# to be done\n" in text
    assert world.out.splitlines() == [
        f"written    {world.folder}/board.conf",
        f"written    {world.settings}",
    ]
    assert "systemd does not run here" in world.err


def test_a_second_run_changes_nothing_and_says_so(world: EnablingWorld) -> None:
    world.run("enable", "generic-led", "--panel=ssd1306")
    before = snapshot(world.root)

    assert world.run("enable", "generic-led", "--panel=ssd1306") == 0

    assert snapshot(world.root) == before
    assert "Nothing was to be changed." in world.err
    assert {line.split()[0] for line in world.out.splitlines()} == {"unchanged"}


def test_without_a_settings_file_one_is_written_that_explains_every_setting(world: EnablingWorld) -> None:
    world.settings.unlink()

    assert world.run("enable", "generic-rgb") == 0

    text = world.settings.read_text()
    assert "# client_id = " in text
    assert '# board = "none"\nboard = "generic-rgb"\n' in text
    assert '\ngpio = "gpiod"\n' in text
    assert "client_id is not set" in world.err


def test_a_panel_and_a_key_go_beside_the_board(world: EnablingWorld) -> None:
    assert world.run("enable", "--panel", "sh1106", "generic-led", "--key", "rpi-fw-crypto") == 0

    assert world.in_place() == {
        "board.conf": shipped("boards", "generic-led"),
        "panel.conf": shipped("panels", "sh1106"),
        "key.conf": shipped("keys", "rpi-fw-crypto"),
    }
    assert hardware_of(world) == {"board": "generic-led", "gpio": "gpiod", "panel": {"kind": "sh1106"}}
    assert tomllib.loads(world.settings.read_text())["key_provider"] == "rpi-fw-crypto"


def test_a_key_alone_leaves_the_board_as_it_is(world: EnablingWorld) -> None:
    assert world.run("enable", "--key=rpi-fw-crypto") == 0

    assert world.in_place() == {"key.conf": shipped("keys", "rpi-fw-crypto")}
    assert world.settings.read_text() == OF_A_PERSON.replace(
        COMPLETE, COMPLETE + 'key_provider = "rpi-fw-crypto"\n'
    )


def test_what_a_person_has_set_of_the_panel_stays(world: EnablingWorld) -> None:
    world.write_settings(COMPLETE + '[hardware.panel]\nkind = "ssd1306"\naddress = 0x3d  # soldered\n')

    world.run("enable", "generic-led", "--panel=sh1106")

    assert 'kind = "sh1106"\naddress = 0x3d  # soldered\n' in world.settings.read_text()


def test_another_board_takes_the_place_of_the_first(world: EnablingWorld) -> None:
    world.run("enable", "respeaker-2mic")

    assert world.run("enable", "simulated") == 0

    assert world.in_place() == {}
    assert hardware_of(world) == {"board": "simulated"}


def test_a_file_that_a_person_wrote_is_left_alone(world: EnablingWorld) -> None:
    world.folder.mkdir(parents=True)
    own = world.folder / "board.conf"
    own.write_text("[Service]\nDeviceAllow=/dev/mine rw\n")
    before = snapshot(world.root)

    assert world.run("enable", "generic-led") == 78

    assert snapshot(world.root) == before
    assert f"{own} is not of this program" in world.out
    assert world.run("disable") == 0
    assert own.exists()
    assert f"left       {own}" in world.out


def test_a_line_that_a_person_added_to_ours_makes_it_that_persons(world: EnablingWorld) -> None:
    world.run("enable", "generic-led")
    path = world.folder / "board.conf"
    path.write_text(path.read_text().replace("rw\n", "rw\nDeviceAllow=/dev/mine rw\n", 1))
    before = snapshot(world.root)

    assert world.run("enable", "respeaker-2mic") == 78

    assert snapshot(world.root) == before


def test_a_file_that_an_older_version_put_there_is_exchanged(world: EnablingWorld) -> None:
    from hashlib import sha256

    old = "[Service]\n# as it shipped once\n"
    world.folder.mkdir(parents=True)
    seal = f"# Put here by: device-auth hardware enable. SHA-256 of the lines above: {sha256(old.encode()).hexdigest()}\n"
    (world.folder / "board.conf").write_text(old + seal)

    assert world.run("enable", "generic-led") == 0

    assert world.in_place() == {"board.conf": shipped("boards", "generic-led")}


def test_a_copy_that_make_install_put_there_is_ours(world: EnablingWorld) -> None:
    world.folder.mkdir(parents=True)
    (world.folder / "board.conf").write_text(shipped("boards", "generic-led"))
    (world.folder / "local.conf").write_text("[Service]\n")

    world.run("enable", "generic-led")

    assert f"unchanged  {world.folder}/board.conf" in world.out
    world.run("disable")
    assert world.in_place() == {"local.conf": "[Service]\n"}


def test_disable_takes_all_of_it_back(world: EnablingWorld) -> None:
    world.run("enable", "generic-led", "--panel=ssd1306", "--key=rpi-fw-crypto")

    assert world.run("disable") == 0

    assert not world.folder.exists()
    assert hardware_of(world) == {"board": "none"}
    assert "key_provider" not in tomllib.loads(world.settings.read_text())
    before = snapshot(world.root)
    assert world.run("disable") == 0
    assert snapshot(world.root) == before
    assert "Nothing was to be changed." in world.err


def test_on_and_off_many_times_leaves_the_file_as_it_is(world: EnablingWorld) -> None:
    texts = set()
    for _ in range(3):
        world.run("enable", "generic-led", "--panel=ssd1306", "--key=rpi-fw-crypto")
        world.run("disable")
        texts.add(world.settings.read_text())

    assert len(texts) == 1


@pytest.mark.parametrize("words", [("generic-led", "--keep-settings"), ("kernel-led",)])
def test_a_drop_in_alone_leaves_the_settings_as_they_are(
    world: EnablingWorld, words: tuple[str, ...]
) -> None:
    assert world.run("enable", *words) == 0

    assert world.in_place() == {"board.conf": shipped("boards", words[0])}
    assert world.settings.read_text() == OF_A_PERSON


@pytest.mark.parametrize("board", ["pirate-audio", "respeaker-4mic"])
def test_a_board_whose_drop_in_is_a_link_gets_a_file_of_its_own(world: EnablingWorld, board: str) -> None:
    assert world.run("enable", board) == 0

    assert world.in_place() == {"board.conf": shipped("boards", board)}
    assert not (world.folder / "board.conf").is_symlink()
    assert hardware_of(world)["board"] == board


def test_every_board_with_a_drop_in_can_be_named() -> None:
    assert set(drop_ins.shipped(drop_ins.BOARDS)) | {"simulated"} == set(BOARDS)


def test_disable_may_leave_the_settings(world: EnablingWorld) -> None:
    world.run("enable", "generic-led")
    text = world.settings.read_text()

    assert world.run("disable", "--keep-settings") == 0

    assert world.settings.read_text() == text
    assert not world.folder.exists()


def test_what_was_set_on_the_unit_is_changed_where_it_was_set(world: EnablingWorld) -> None:
    own = world.root / "var/lib/device-auth/settings.toml"
    own.parent.mkdir(parents=True)
    own.write_text("# here\n[hardware]\nbrightness = 0.5\n")
    own.chmod(0o600)
    world.write_settings(OF_A_PERSON.replace("'none'", "'voice-bonnet'") + 'panel = { kind = "ssd1306" }\n')
    before = world.settings.read_text()

    assert world.run("enable", "generic-led") == 0
    assert own.read_text() == '# here\n[hardware]\nbrightness = 0.5\nboard = "generic-led"\ngpio = "gpiod"\n'
    assert world.run("disable") == 0

    table = tomllib.loads(own.read_text())["hardware"]
    assert table == {"brightness": 0.5, "board": "none", "panel": "off"}
    assert world.settings.read_text() == before


def test_disable_makes_no_settings(world: EnablingWorld) -> None:
    world.settings.unlink()

    assert world.run("disable") == 0

    assert not world.settings.exists()


@pytest.mark.parametrize("stored", ['{"version": 2, "key_provider": "rpi-fw-crypto"}', "torn"])
def test_the_drop_in_of_a_key_stays_while_a_link_may_be_sealed_under_it(
    world: EnablingWorld, stored: str
) -> None:
    world.run("enable", "generic-led", "--key=rpi-fw-crypto")
    state = world.root / "var/lib/device-auth"
    state.mkdir(parents=True)
    (state / "link.json").write_text('{"version": 1, "key_provider": "plain"}')
    (state / "link.json.previous").write_text(stored)

    assert world.run("disable") == 0

    assert world.in_place() == {"key.conf": shipped("keys", "rpi-fw-crypto")}
    assert tomllib.loads(world.settings.read_text())["key_provider"] == "rpi-fw-crypto"
    assert "under rpi-fw-crypto" in world.err


# ---------------------------------------------------------------------------------------------------------
# The back end of the pins


def test_the_original_rpi_gpio_gets_a_drop_in_of_its_own(world: EnablingWorld) -> None:
    with not_installed(), importable("original"):
        sys.modules["gpiod"] = None  # type: ignore[assignment]  # as Python marks what cannot be imported

        assert world.run("enable", "generic-led") == 0

    assert world.in_place()["gpio.conf"] == shipped("gpio", "rpi-gpio")
    assert hardware_of(world)["gpio"] == "rpi-gpio"
    assert world.run("enable", "generic-led") == 0  # which is installed still, and was chosen
    assert hardware_of(world)["gpio"] == "rpi-gpio"


def test_without_a_library_nothing_is_changed_and_both_ways_are_named(world: EnablingWorld) -> None:
    before = snapshot(world.root)

    with not_installed():
        assert world.run("enable", "generic-led") == 78

    assert snapshot(world.root) == before
    assert "gpiod" in world.out
    assert "rpi-lgpio" in world.out
    assert world.out.count("Install it") == 1  # it was told twice, with the same package on Debian 12


def test_the_library_that_is_set_stays(world: EnablingWorld) -> None:
    world.write_settings(COMPLETE + '[hardware]\ngpio = "rpi-gpio"\n')

    world.run("enable", "generic-led")

    assert hardware_of(world) == {"gpio": "rpi-gpio", "board": "generic-led"}
    assert "gpio.conf" not in world.in_place()  # that of rpi-lgpio uses the chip as gpiod does


# ---------------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("enable",), "needs a BOARD, a --panel or a --key\nBoards: aiy-voice-v1, "),
        (("enable", "kitchen"), "invalid choice: 'kitchen'"),
        (("enable", "--json", "kitchen"), "invalid choice: 'kitchen'"),
        (("enable", "none"), "invalid choice: 'none'"),
        (("enable", "generic-led", "--panel=lcd"), "invalid choice: 'lcd'"),
        (("enable", "generic-led", "--key=plain"), "invalid choice: 'plain'"),
        (("enable", "generic-led", "voice-bonnet"), "unknown arguments"),
        (("list", "--keep-settings"), "--keep-settings has no meaning"),
        (("disable", "generic-led"), "BOARD has no meaning"),
        (("list", "generic-led"), "BOARD has no meaning"),
        (("test", "--no-test"), "--no-test has no meaning"),
        (("enable", "generic-led", "--simulate=auto"), "--simulate has no meaning"),
    ],
)
def test_a_wrong_command_line_changes_nothing(
    world: EnablingWorld, words: tuple[str, ...], told: str
) -> None:
    before = snapshot(world.root)

    assert world.run(*words) == 2

    assert told in world.out + world.err
    assert snapshot(world.root) == before


def test_every_panel_that_has_a_drop_in_can_be_named() -> None:
    assert set(PANEL_KINDS) == set(drop_ins.shipped(drop_ins.PANELS))


@pytest.mark.parametrize("words", [("enable", "generic-led"), ("disable",)])
def test_another_user_than_root_is_told_to_use_sudo(world: EnablingWorld, words: tuple[str, ...]) -> None:
    before = snapshot(world.root)

    assert world.run(*words, euid=1000) == 75

    assert f"sudo device-auth hardware {words[0]}" in world.out
    assert snapshot(world.root) == before


def test_settings_that_the_board_makes_wrong_keep_everything_as_it_is(world: EnablingWorld) -> None:
    world.write_settings(
        COMPLETE + '[hardware]\nbuses = ["spi0"]\nlight = { kind = "led", pin = 17, active = "high" }\n'
    )
    before = snapshot(world.root)

    assert world.run("enable", "generic-led") == 78

    assert "nothing was changed" in world.out
    assert "GPIO17" in world.out
    assert snapshot(world.root) == before


def test_a_group_that_the_drop_in_needs_and_that_is_missing_is_told_before(world: EnablingWorld) -> None:
    (world.root / "etc/group").write_text("audio:x:29:\ngpio:x:997:\n")
    before = snapshot(world.root)

    assert world.run("enable", "respeaker-2mic") == 78
    assert "there is no group spi" in world.out
    assert snapshot(world.root) == before
    assert world.run("enable", "generic-led") == 0


# ---------------------------------------------------------------------------------------------------------
# The service


def test_the_service_is_started_with_the_new_files_after_its_socket(world: EnablingWorld) -> None:
    world.boot()
    with world.served():
        assert world.run("enable", "simulated", "--no-test") == 0

    assert world.asked() == RESTARTED
    assert "The service was started again: starting." in world.err
    assert not world.is_restart_due
    with world.served():
        world.run("enable", "simulated", "--no-test")
    assert world.asked() == []


def test_systemctl_hears_nothing_of_the_callers_environment(
    world: EnablingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/tmp/mine")
    monkeypatch.setenv("PATH", f"{world.root}:/usr/bin:/bin")
    world.boot(OFF)

    world.run("enable", "simulated")

    seen = [line.partition("=")[::2] for line in (world.root / "environment").read_text().splitlines()]
    known = {"PATH", "LC_ALL", "SYSTEMD_COLORS", "SYSTEMD_PAGER", "PWD", "SHLVL", "OLDPWD", "_"}
    assert {name for name, _ in seen} <= known
    assert {value for name, value in seen if name == "PATH"} == {"/usr/sbin:/usr/bin:/sbin:/bin"}


@pytest.mark.parametrize("state", [OFF, ABSENT])
def test_a_service_that_is_not_switched_on_is_not_started(world: EnablingWorld, state: str) -> None:
    world.boot(state)

    code, told = world.results("enable", "simulated", "--no-test")

    assert (code, world.asked()) == (0, RESTARTED[:2])
    assert any("sudo systemctl enable --now" in note for note in told["notes"])
    assert not world.is_restart_due


def test_the_parts_are_tested_while_the_service_is_stopped(
    world: EnablingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.boot()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with world.served() as served:
        served.is_linked()
        code, told = world.results("enable", "simulated")

    assert (code, world.asked()) == (0, RESTARTED)
    assert len(told["test"]) >= len(set(map(str, TABLE.values())))
    assert all(result["ok"] for result in told["test"])
    assert told["service"]["state"] == StateWord.LINKED
    assert told["changed"] is True


def test_a_part_that_fails_its_test_is_told_and_the_service_started_all_the_same(
    world: EnablingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.boot()
    monkeypatch.setattr(sys, "stdin", io.StringIO("no\n" * 40))
    with world.served():
        code, told = world.results("enable", "simulated", "--expect", "--part=light", "--seconds=0")

    assert (code, world.asked()) == (72, RESTARTED)
    assert not any(result["ok"] for result in told["test"])
    assert not world.is_restart_due


def test_where_nobody_can_be_asked_the_test_is_left_for_later(
    world: EnablingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.boot()
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with world.served():
        assert world.run("enable", "generic-led") == 0

    assert "sudo device-auth hardware test" in world.err
    assert world.asked() == RESTARTED


def test_a_part_that_the_service_cannot_use_is_a_failure(world: EnablingWorld) -> None:
    world.boot()
    with world.served() as served:
        served.feed.tell(View(StateWord.UNLINKED, Trouble.HARDWARE, "the light does not work"), None)

        code, told = world.results("enable", "simulated", "--no-test")

    assert (code, told["service"]["trouble"]) == (72, "hardware")


def test_a_service_that_does_not_start_is_started_by_the_next_run(world: EnablingWorld) -> None:
    world.boot()
    (world.root / "fails").write_text("start device-auth.service")
    (world.root / "state").write_text(FAILED)

    assert world.run("enable", "simulated", "--no-test") == 74
    assert "systemctl start device-auth.service failed: The service failed: 216/GROUP" in world.err
    assert world.is_restart_due
    world.asked()

    (world.root / "fails").unlink()
    with world.served():
        assert world.run("enable", "simulated", "--no-test") == 0
    assert world.asked() == RESTARTED
    assert not world.is_restart_due


def test_disable_has_the_service_give_the_parts_back(world: EnablingWorld) -> None:
    world.run("enable", "generic-led")
    world.boot()
    with world.served():
        code, told = world.results("disable")

    assert (code, world.asked()) == (0, RESTARTED)
    assert "test" not in told


# ---------------------------------------------------------------------------------------------------------
# The key


@pytest.fixture
def key_file(world: EnablingWorld) -> Path:
    path = world.root / "key"
    path.write_bytes(bytes(range(64)))
    path.chmod(0o600)
    world.write_settings(f'key_file = "{path}"\n{OF_A_PERSON}')
    return path


def test_with_a_key_the_stored_link_is_sealed(world: EnablingWorld, key_file: Path) -> None:
    del key_file
    world.boot()
    with world.served() as served:
        served.is_linked()
        code, told = world.results("enable", "simulated", "--no-test", "--key=key-file")

        assert served.actions.asked == ["seal"]
    assert (code, told["sealed"]) == (0, True)
    assert tomllib.loads(world.settings.read_text())["key_provider"] == "key-file"


def test_a_link_that_a_killed_run_left_plain_is_sealed_by_the_next(
    world: EnablingWorld, key_file: Path
) -> None:
    del key_file
    world.boot()
    with world.served() as served:
        served.is_linked()
        served.actions.sealed_under = StoreError("the disk is full")
        assert world.run("enable", "simulated", "--no-test", "--key=key-file") == 74
        served.actions.sealed_under = "key-file"

        assert world.run("enable", "simulated", "--no-test", "--key=key-file") == 0

    assert served.actions.asked == ["seal", "seal"]
    assert "Nothing was to be changed." in world.err
    assert "The link is sealed." in world.err


def test_a_key_that_cannot_be_had_changes_nothing(world: EnablingWorld, key_file: Path) -> None:
    key_file.unlink()
    world.boot()
    before = snapshot(world.root)

    assert world.run("enable", "simulated", "--no-test", "--key=key-file") in {74, 78}
    assert world.run("enable", "simulated", "--no-test", "--key=systemd-credential") == 78
    assert "credstore.encrypted/device-auth.key" in world.out

    assert snapshot(world.root) == before
    assert world.asked() == []
