"""The units that ship: systemd accepts them, they open no more than they must, and they agree with the program."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from device_auth.service.api import ADMISSION as SOCKET_ADMISSION
from device_auth.service.page import ADMISSION as PAGE_ADMISSION
from device_auth.tools.drop_ins import SORTS, shipped
from device_auth.wire.addresses import read_proxy
from device_auth.world.keys import CREDENTIAL
from device_auth.world.route import Authorities
from device_auth.world.settings import CREDENTIAL as CLIENT_SECRET
from device_auth.world.settings import KEY_PROVIDERS
from device_auth.world.store import SEALED
from device_auth.world.transport import route_to
from hardware.board import board_names
from hardware.plans import PANEL_KEYS
from tests.command import ROOT

UNITS: Final = ROOT / "deploy" / "systemd"
KEYS: Final = sorted((UNITS / "keys").glob("*.conf"))
BOARDS: Final = sorted((UNITS / "boards").glob("*.conf"))
PANELS: Final = sorted((UNITS / "panels").glob("*.conf"))
GPIO: Final = sorted((UNITS / "gpio").glob("*.conf"))
READ_ONLY_ROOT: Final = UNITS / "read-only-root.conf"
DROP_INS: Final = [*BOARDS, *PANELS, *GPIO, *KEYS, READ_ONLY_ROOT]
SERVICE: Final = (UNITS / "device-auth.service").read_text().replace("@BINDIR@/device-auth", "/bin/true")

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


def with_drop_ins(*drop_ins: Path) -> str:
    """Put the lines of drop-ins behind the unit's own: later ones win, or are added."""
    lines = "".join(drop_in.read_text().split("[Service]\n", 1)[1] for drop_in in drop_ins)
    return SERVICE.replace("\n[Install]", f"\n{lines}\n[Install]")


def install(target: str, place: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    """Run a target of the Makefile into a folder, as an image builder does."""
    command = ["make", "--no-print-directory", "-C", str(UNITS), target, f"DESTDIR={place}", *variables]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def files_in(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


@needs_systemd
@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda path: path and path.stem)
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, drop_in: Path | None) -> None:
    (tmp_path / "device-auth.service").write_text(SERVICE)
    shutil.copy(UNITS / "device-auth.socket", tmp_path)
    if drop_in is not None:
        (tmp_path / "device-auth.service.d").mkdir()
        shutil.copy(drop_in, tmp_path / "device-auth.service.d")

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
@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda drop_in: drop_in.stem)
def test_a_drop_in_opens_its_devices_and_little_else(tmp_path: Path, drop_in: Path) -> None:
    assert exposure(SERVICE, tmp_path) <= exposure(with_drop_ins(drop_in), tmp_path) <= 1.9


@needs_systemd
def test_the_rating_notices_an_open_unit(tmp_path: Path) -> None:
    opened = re.sub(
        r"^(Protect|Private|Restrict|SystemCall|Capability|NoNew).*\n", "", SERVICE, flags=re.MULTILINE
    )

    assert exposure(opened, tmp_path) > 4


def test_what_is_known_to_break_stays_out() -> None:
    settings = [line for line in SERVICE.splitlines() if not line.startswith("#")]

    assert not any(line.startswith(("ProcSubset=", "PrivateUsers=", "DynamicUser=")) for line in settings)


@pytest.mark.parametrize("sort", SORTS)
def test_each_drop_in_goes_with_the_program_and_stands_once(sort: str) -> None:
    ours = {path.stem: path.read_bytes() for path in (UNITS / sort).glob("*.conf")}

    assert ours
    assert shipped(sort) == ours
    # links of single files: what copies a clone follows them, and would pass over one of a folder
    assert all(path.is_symlink() for path in (ROOT / "device_auth/tools/systemd" / sort).iterdir())


def test_every_board_with_pins_has_a_file_that_opens_them() -> None:
    with_pins = set(board_names()) - {"none", "simulated"}

    assert with_pins <= {board.stem for board in BOARDS}


def test_an_image_may_have_every_board_that_has_a_file() -> None:
    layer = (ROOT / "deploy" / "images" / "rpi-image-gen" / "layer" / "device-auth.yaml").read_text()
    known = re.findall(r"^# X-Env-Var-board-Valid: keywords:(.*)$", layer, re.MULTILINE)

    # a board that came later was refused by the layer
    assert [set(names.split(",")) for names in known] == [{"none", *(board.stem for board in BOARDS)}]


def test_every_panel_that_is_a_device_has_a_file_that_opens_it() -> None:
    assert set(PANEL_KEYS[0].choices) - {"simulated"} == {panel.stem for panel in PANELS}


@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda path: path and path.stem)
def test_every_group_that_a_unit_names_is_made_or_in_every_debian(drop_in: Path | None) -> None:
    text = SERVICE if drop_in is None else drop_in.read_text()
    named = {
        name for line in re.findall(r"^SupplementaryGroups=(.*)", text, re.MULTILINE) for name in line.split()
    }
    made = set(re.findall(r"^[gu] (\S+)", (UNITS / "device-auth.sysusers").read_text(), re.MULTILINE))

    # a missing one ends the start with 216/GROUP; the others are in base-passwd's group.master
    assert named <= made | {"audio", "dialout", "tty", "video"}


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_the_module_of_a_class_of_devices_is_loaded_first(drop_in: Path) -> None:
    text = drop_in.read_text()
    modules = {"spi": "spidev", "i2c": "i2c_dev", "alsa": "snd"}
    allowed = re.findall(r"^DeviceAllow=char-(\w+)", text, re.MULTILINE)
    units = " ".join(f"modprobe@{modules[name]}.service" for name in allowed if name in modules)

    # systemd looks the class up when it starts the service: one that is not there yet stays closed until the next start
    assert [line for line in text.splitlines() if "modprobe@" in line and "ledtrig" not in line] == (
        [f"Wants={units}", f"After={units}"] if units else []
    )


def test_the_service_needs_its_socket_and_waits_for_nothing_else() -> None:
    unit = SERVICE.split("[Service]", maxsplit=1)[0]

    # started first, it bound the address itself, and the socket was refused at each first installation
    assert "\nRequires=device-auth.socket\nAfter=device-auth.socket\n" in unit
    # without an answer of DHCP the speaker was dead for two minutes
    assert re.findall(r"^(?:Wants|After|Requires)=(.*)", unit, re.MULTILINE) == ["device-auth.socket"] * 2


def test_the_service_needs_no_disk_for_its_own_tmp() -> None:
    # on a read-only root with /tmp on it, PrivateTmp= ended each start with 226/NAMESPACE
    assert "\nTemporaryFileSystem=/tmp /var/tmp\n" in SERVICE
    assert "\nPrivateTmp=" not in SERVICE


def test_the_sockets_folder_is_made_as_the_service_would_have_it() -> None:
    made = (UNITS / "device-auth.tmpfiles").read_text().splitlines()[-1]
    given = dict(
        line.split("=", 1) for line in SERVICE.splitlines() if "=" in line and not line.startswith("#")
    )

    # where they differ, systemd gives the folder to the service, with the socket in it, that root alone should own
    assert made.split() == [
        "d",
        f"/run/{given['RuntimeDirectory']}",
        given["RuntimeDirectoryMode"],
        given["User"],
        given["Group"],
        "-",
    ]


def test_the_service_is_never_given_up() -> None:
    # a lock that was held for half a minute once ended service and socket for good
    assert "\nStartLimitIntervalSec=0\n" in SERVICE.split("[Service]", maxsplit=1)[0]
    assert "\nRestartSec=10\n" in SERVICE


@pytest.mark.parametrize("line", ["LimitCORE=0", "MemorySwapMax=0"])
def test_the_refresh_token_gets_into_no_core_dump_and_no_swap(line: str) -> None:
    assert line in SERVICE.splitlines()


def test_the_service_may_have_a_thread_for_each_connection() -> None:
    found = re.search(r"^TasksMax=(\d+)$", SERVICE, re.MULTILINE)

    assert found is not None
    assert int(found[1]) > SOCKET_ADMISSION.places + PAGE_ADMISSION.places + 64


def test_an_installation_has_what_it_was_asked_for_and_its_removal_takes_exactly_that(tmp_path: Path) -> None:
    (tmp_path / "etc" / "avahi" / "services").mkdir(parents=True)
    own = tmp_path / "etc" / "systemd" / "system" / "device-auth.service.d" / "proxy.conf"
    own.parent.mkdir(parents=True)
    own.write_text("")

    made = install(
        "install", tmp_path, "BOARD=generic-led", "PANEL=ssd1306", "KEY=rpi-fw-crypto", "SYSTEMD=254"
    )
    installed = files_in(tmp_path)
    gone = install("uninstall", tmp_path)

    assert (made.returncode, gone.returncode) == (0, 0), made.stderr + gone.stderr
    assert installed == {
        "etc/avahi/services/device-auth.service",
        "etc/systemd/system/device-auth.service",
        "etc/systemd/system/device-auth.socket",
        *(
            f"etc/systemd/system/device-auth.service.d/{name}.conf"
            for name in ("board", "key", "panel", "proxy", "restart-steps")
        ),
        "etc/sysusers.d/device-auth.conf",
        "etc/tmpfiles.d/device-auth.conf",
        "etc/udev/rules.d/60-device-auth.rules",
    }
    assert files_in(tmp_path) == {str(own.relative_to(tmp_path))}


def test_the_installed_unit_starts_the_command_of_the_place_that_was_named(tmp_path: Path) -> None:
    install("install", tmp_path, "BINDIR=/srv/speaker/bin", "SYSTEMD=253")
    unit = (tmp_path / "etc" / "systemd" / "system" / "device-auth.service").read_text()

    assert "\nExecStart=/srv/speaker/bin/device-auth run\n" in unit
    # systemd 252 complains of its keys
    assert not (
        tmp_path / "etc" / "systemd" / "system" / "device-auth.service.d" / "restart-steps.conf"
    ).exists()


@pytest.mark.parametrize(
    ("variable", "known"),
    [("BOARD", BOARDS), ("PANEL", PANELS), ("KEY", KEYS), ("GPIO", GPIO)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_name_that_does_not_exist_installs_nothing_and_is_told_which_do(
    tmp_path: Path, variable: str, known: list[Path]
) -> None:
    refused = install("install", tmp_path, f"{variable}=nothing")

    assert refused.returncode != 0
    assert f"there are: {' '.join(path.stem for path in known)}." in refused.stderr
    assert files_in(tmp_path) == set()


def test_only_a_wrong_command_line_is_not_tried_again() -> None:
    assert "\nRestartPreventExitStatus=2\n" in SERVICE
    assert "Restart=on-failure" in SERVICE


def test_a_service_that_ended_for_good_is_not_started_for_ever_by_whoever_waits() -> None:
    socket = (UNITS / "device-auth.socket").read_text()

    # each start takes seconds on a speaker: systemd's own limit, 20 in two seconds, is never reached
    assert "\nTriggerLimitIntervalSec=10min\nTriggerLimitBurst=10\n" in socket


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
    for text in (
        f"--name={CREDENTIAL}",
        f"/etc/credstore.encrypted/{CREDENTIAL}",
        "config set key_file",
        SEALED,
    ):
        assert text in page
    assert {path.stem for path in KEYS} <= set(re.findall(r"--key ([a-z-]+)", page))


def test_the_drop_in_for_a_proxy_is_one_that_requests_take_and_holds_no_password() -> None:
    lines = (UNITS / "proxy.conf").read_text().splitlines()
    given = dict(line.removeprefix("Environment=").split("=", 1) for line in lines if line.startswith("Env"))
    route = route_to("https://api.amazon.com/", Authorities(), read_proxy(given["HTTPS_PROXY"]))

    assert str(route.proxy) == given["HTTPS_PROXY"]
    assert set(given) == {"HTTPS_PROXY", "NO_PROXY"}
    assert "systemd/proxy.conf" in (ROOT / "deploy" / "README.md").read_text()
