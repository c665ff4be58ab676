"""The units that ship: systemd accepts them, they open no more than they must, and they agree with the program."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from device_auth.wire.addresses import read_proxy
from device_auth.world.keys import CREDENTIAL
from device_auth.world.route import Authorities
from device_auth.world.settings import CREDENTIAL as CLIENT_SECRET
from device_auth.world.settings import KEY_PROVIDERS
from device_auth.world.store import SEALED
from device_auth.world.transport import route_to
from hardware.board import board_names
from tests.command import ROOT

UNITS: Final = ROOT / "deploy" / "systemd"
KEYS: Final = sorted((UNITS / "keys").glob("*.conf"))
BOARDS: Final = sorted((UNITS / "boards").glob("*.conf"))
SERVICE: Final = (UNITS / "device-auth.service").read_text()

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def exposure(unit: str, folder: Path) -> float:
    """Rate a unit as ``systemd-analyze security`` does: 0 is closed, 10 is open."""
    path = folder / "device-auth.service"
    path.write_text(unit)
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"exposure level for \S+: (\d+\.\d)", rated.stdout)
    assert found is not None, rated.stdout
    return float(found[1])


def with_drop_in(drop_in: Path) -> str:
    """Put a drop-in's lines behind the unit's own: later ones win, or are added."""
    lines = drop_in.read_text().split("[Service]\n", 1)[1]
    return SERVICE.replace("\n[Install]", f"\n{lines}\n[Install]")


@needs_systemd
@pytest.mark.parametrize("drop_in", [None, *KEYS], ids=lambda path: path and path.stem)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, drop_in: Path | None) -> None:
    for unit in ("device-auth.service", "device-auth.socket"):
        text = (UNITS / unit).read_text().replace("/opt/device-auth/bin/device-auth", "/bin/true")
        (tmp_path / unit).write_text(text)
    if drop_in is not None:
        (tmp_path / "device-auth.service.d").mkdir()
        (tmp_path / "device-auth.service.d" / "key.conf").write_text(drop_in.read_text())

    judged = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            str(tmp_path / "device-auth.service"),
            str(tmp_path / "device-auth.socket"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


@needs_systemd
def test_the_service_alone_is_nearly_closed(tmp_path: Path) -> None:
    assert exposure(SERVICE, tmp_path) <= 1.6


@needs_systemd
@pytest.mark.parametrize("drop_in", [*BOARDS, *KEYS], ids=lambda drop_in: drop_in.stem)
def test_a_board_or_a_key_opens_its_devices_and_little_else(tmp_path: Path, drop_in: Path) -> None:
    assert exposure(SERVICE, tmp_path) < exposure(with_drop_in(drop_in), tmp_path) <= 1.8


@needs_systemd
def test_the_rating_notices_an_open_unit(tmp_path: Path) -> None:
    opened = re.sub(
        r"^(Protect|Private|Restrict|SystemCall|Capability|NoNew).*\n", "", SERVICE, flags=re.MULTILINE
    )

    assert exposure(opened, tmp_path) > 4


def test_what_is_known_to_break_stays_out() -> None:
    settings = [line for line in SERVICE.splitlines() if not line.startswith("#")]

    assert not any(line.startswith(("ProcSubset=", "PrivateUsers=", "DynamicUser=")) for line in settings)


def test_every_board_with_pins_has_a_file_that_opens_them() -> None:
    with_pins = set(board_names()) - {"none", "simulated"}

    assert with_pins <= {board.stem for board in BOARDS}


def test_only_a_wrong_command_line_is_not_tried_again() -> None:
    assert "\nRestartPreventExitStatus=2\n" in SERVICE
    assert "Restart=on-failure" in SERVICE


def test_the_watchdog_is_three_of_the_loops_longest_waits() -> None:
    from device_auth.service.daemon import WATCHED_EVERY

    assert f"WatchdogSec={3 * WATCHED_EVERY:.0f}" in SERVICE


def test_the_socket_is_where_programs_look_for_it() -> None:
    socket = (UNITS / "device-auth.socket").read_text()

    assert "ListenStream=/run/device-auth/api.sock" in socket
    assert "SocketUser=root\nSocketGroup=device-auth-client\nSocketMode=0660\n" in socket
    assert "DirectoryMode=0755" in socket
    assert "FileDescriptorName=api" in socket


@pytest.mark.parametrize("name", [CREDENTIAL, CLIENT_SECRET])
def test_the_unit_hands_over_a_credential_by_the_name_that_is_looked_for(name: str) -> None:
    lines = SERVICE.splitlines()

    # without a path: a speaker without that credential starts all the same; LoadCredential= would not look
    # where the pages have it put (systemd.exec(5))
    assert f"LoadCredentialEncrypted={name}" in lines


def test_the_client_secret_is_put_where_the_unit_looks_for_it() -> None:
    assert f"/etc/credstore.encrypted/{CLIENT_SECRET}" in (ROOT / "deploy" / "README.md").read_text()


def test_the_page_about_keys_names_every_provider_and_what_is_to_be_typed() -> None:
    page = (ROOT / "docs" / "encryption.md").read_text()

    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE) == list(KEY_PROVIDERS)
    for text in (f"--name={CREDENTIAL}", f"/etc/credstore.encrypted/{CREDENTIAL}", "key_file =", SEALED):
        assert text in page
    assert {path.stem for path in KEYS} <= set(re.findall(r"KEY=([a-z-]+)", page))


def test_the_drop_in_for_a_proxy_is_one_that_requests_take_and_holds_no_password() -> None:
    lines = (UNITS / "proxy.conf").read_text().splitlines()
    given = dict(line.removeprefix("Environment=").split("=", 1) for line in lines if line.startswith("Env"))
    route = route_to("https://api.amazon.com/", Authorities(), read_proxy(given["HTTPS_PROXY"]))

    assert str(route.proxy) == given["HTTPS_PROXY"]
    assert set(given) == {"HTTPS_PROXY", "NO_PROXY"}
    assert "systemd/proxy.conf" in (ROOT / "deploy" / "README.md").read_text()
