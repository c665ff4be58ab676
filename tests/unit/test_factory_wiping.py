import gzip
import lzma
import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from device_auth.factory.unit.token_search import CHUNK, TokenSearch
from device_auth.factory.unit.wiping import JOURNALCTL, _deleted, wipe_unit
from device_auth.world.store import FileStore
from device_auth.world.token_files import FileTokens
from tests.links import StillClock, make_grant, make_link
from tests.unit_on_the_line import MACHINE, OTHER_TOKEN, TOKEN, UnitOnTheLine

JOURNAL = Path(__file__).parent.parent / "stand_ins/journal-with-token.xz"
"""Made by systemd-journal-remote: the only entry has a token in a field that zstd has packed."""

needs_journalctl = pytest.mark.skipif(not Path(JOURNALCTL).exists(), reason="journalctl is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[UnitOnTheLine]:
    unit = UnitOnTheLine(tmp_path).make()
    with unit.held:
        yield unit


def used(unit: UnitOnTheLine) -> UnitOnTheLine:
    """Leave what the ordinary use of a unit leaves, and nothing of a token."""
    unit.write("var/log/syslog", "device-auth: linked\ndevice-auth: tokens begin with Atzr| or Sim|\n" * 50)
    unit.write("var/log/syslog.2.gz", gzip.compress(b"device-auth: refreshed in 0.2 s\n" * 500))
    unit.write("root/.bash_history", "device-auth factory wipe --verify\n")
    unit.write("home/pi/picture.png", bytes(range(256)) * 40)
    unit.write("var/swap", bytes(CHUNK) + b"Sim|A|" + bytes(100))
    unit.write("tmp/f", b64encode(bytes(range(256)) * 20))
    unit.write("proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n")
    return unit


def in_journal(unit: UnitOnTheLine) -> None:
    packed = JOURNAL.read_bytes()
    unit.write(f"var/log/journal/{MACHINE}/system.journal", lzma.decompress(packed))


def deleted_but_open(unit: UnitOnTheLine) -> None:
    path = unit.state / "upload"
    path.write_text(TOKEN)
    unit.held.enter_context(path.open())
    path.unlink()


def active_swap(unit: UnitOnTheLine) -> None:
    unit.write("data/my swap", bytes(4096) + TOKEN.encode() + bytes(4096))
    unit.write("proc/swaps", "Filename Type Size Used Priority\n/data/my\\040swap file 8 8 -2\n")


LEFTOVERS: Final[dict[str, tuple[str, Callable[[UnitOnTheLine], object]]]] = {
    "a file of the state folder": ("left-state", lambda unit: (unit.state / "x").write_text(OTHER_TOKEN)),
    "a file of the runtime folder": ("left-runtime", lambda unit: (unit.runtime / "x").write_text(TOKEN)),
    "a profile that could not be removed": (
        "left-runtime",
        lambda unit: unit.write("../run/simulated-factory/link-test-x/run/token.json", TOKEN),
    ),
    "the name of a file": ("left-state", lambda unit: (unit.state / TOKEN).touch()),
    "a log in UTF-16": ("left-logs", lambda unit: unit.write("var/log/x", TOKEN.encode("utf-16"))),
    "a log that is packed": (
        "left-logs",
        lambda unit: unit.write("var/log/x.gz", gzip.compress(TOKEN.encode())),
    ),
    "base64 in a home folder": (
        "left-homes",
        lambda unit: unit.write("root/.netrc", b64encode(f"me:{TOKEN}".encode())),
    ),
    "percent-encoded in a history": (
        "left-homes",
        lambda unit: unit.write("home/pi/.bash_history", f"curl localhost?t={quote(TOKEN)}"),
    ),
    "across two reads": (
        "left-temporary-files",
        lambda unit: unit.write("tmp/x", b"." * (CHUNK - 9) + OTHER_TOKEN.encode() + b"." * 99),
    ),
    "a core dump that cannot be opened": (
        "left-temporary-files",
        lambda unit: unit.write("var/lib/systemd/coredump/core.zst", b"\x28\xb5\x2f\xfd" + bytes(99)),
    ),
    "a swap file that is not in use": (
        "left-swap",
        lambda unit: unit.write("var/swap", bytes(8192) + TOKEN.encode()),
    ),
    "a swap file in use": ("left-swap", active_swap),
    "a deleted file that is still open": ("left-deleted-files", deleted_but_open),
    "a compressed field of the journal": ("left-journal", in_journal),
}


@pytest.mark.parametrize(
    "leftover",
    [pytest.param(each, marks=needs_journalctl if "journal" in each else ()) for each in LEFTOVERS],
)
def test_each_planted_leftover_is_caught_by_its_check_alone(unit: UnitOnTheLine, leftover: str) -> None:
    name, plant = LEFTOVERS[leftover]
    plant(used(unit))

    talk = unit.talk("wipe", OTHER_TOKEN)
    wipe_unit(talk, unit.doors(), unit.root, verifies=True)

    assert unit.failed == [name]
    assert talk.result(1).exit == 74
    assert "canary" not in str(unit.lines)


def test_a_clean_unit_has_no_alarm(unit: UnitOnTheLine) -> None:
    used(unit)
    talk = unit.talk("wipe", OTHER_TOKEN, TOKEN)

    wipe_unit(talk, unit.doors(), unit.root, verifies=True)

    assert unit.failed == []
    assert len(unit.checks) == 9
    assert talk.result(1).exit == 0
    assert talk.result(1).mac


def test_what_the_product_keeps_is_erased_and_the_identity_stays(unit: UnitOnTheLine) -> None:
    with FileStore(unit.state) as store:
        store.replace(make_link())
    FileTokens(unit.runtime, StillClock(), keep_bare=True).publish(make_grant())
    identity = unit.state / "identity.toml"
    identity.write_text('dsn = "ABC123"\n')

    wipe_unit(unit.talk("wipe"), unit.doors(), unit.root, verifies=True)

    assert unit.failed == []
    assert identity.exists()
    assert not list(unit.runtime.iterdir())


def test_without_verify_nothing_is_searched(unit: UnitOnTheLine) -> None:
    (unit.state / "x").write_text(TOKEN)

    wipe_unit(unit.talk("wipe"), unit.doors(), unit.root, verifies=False)

    assert unit.checks == {"wipe": "PASS"}


def test_a_copy_of_a_link_that_was_wiped_is_caught_by_the_product_too(unit: UnitOnTheLine) -> None:
    with FileStore(unit.state) as store:
        store.replace(make_link())
    (unit.state / "copy").write_text(make_link().refresh_token.reveal())

    wipe_unit(unit.talk("wipe"), unit.doors(), unit.root, verifies=True)

    assert unit.failed == ["wipe", "left-state"]


def test_a_journal_that_cannot_be_read_is_no_proof(unit: UnitOnTheLine) -> None:
    unit.write(f"var/log/journal/{MACHINE}/system.journal", bytes(4096))

    wipe_unit(unit.talk("wipe"), unit.doors(), unit.root, verifies=True)

    assert unit.failed == ["left-journal"]
    assert "cannot search compressed parts of" in unit.detail("left-journal")


def test_a_journal_that_is_gone_when_it_is_looked_at_is_no_proof(unit: UnitOnTheLine) -> None:
    unit.write(f"var/log/journal/{MACHINE}/user.journal", "")
    (unit.root / f"var/log/journal/{MACHINE}/system.journal").symlink_to("rotated")

    wipe_unit(unit.talk("wipe"), unit.doors(), unit.root, verifies=True)

    assert unit.failed == ["left-journal"]


def test_processes_that_cannot_be_listed_are_no_proof(tmp_path: Path) -> None:
    search = TokenSearch()

    _deleted(search, tmp_path / "proc", None)

    assert [each.why_not for each in search.found] == ["No such file or directory"]


def test_a_swap_partition_is_named_as_not_searched(unit: UnitOnTheLine) -> None:
    unit.write("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 8 8 -2\n")

    wipe_unit(unit.talk("wipe"), unit.doors(), unit.root, verifies=True)

    assert unit.failed == []
    assert unit.detail("left-swap").endswith("; not searched: /dev/sda2")


def test_only_a_few_of_many_places_are_named(unit: UnitOnTheLine) -> None:
    for number in range(9):
        (unit.state / f"x{number}").write_text(TOKEN)

    wipe_unit(unit.talk("wipe"), unit.doors(), None, verifies=True)

    assert unit.detail("left-state").endswith("x4 and 4 more")
    assert "left-logs" not in unit.checks


def test_on_a_machine_the_deleted_files_of_any_folder_are_searched(
    tmp_path: Path,
) -> None:
    proc = tmp_path / "proc"
    (proc / "17/fd").mkdir(parents=True)
    (proc / "self").mkdir()
    gone = tmp_path / f"somewhere {TOKEN} (deleted)"
    gone.touch()  # as behind the kernel's own link
    (proc / "17/fd/3").symlink_to(gone)
    (proc / "17/fd/4").symlink_to("/dev/null")
    search = TokenSearch()

    note = _deleted(search, proc, None)

    assert note == "; files: 1"
    assert [each.where for each in search.take_found()[0]] == ["the name of a file"]


def test_a_terminal_whose_other_end_is_gone_is_no_file() -> None:
    far, near = os.openpty()
    os.close(far)
    try:
        assert str(Path(f"/proc/self/fd/{near}").readlink()).endswith(" (deleted)")
        search = TokenSearch()

        _deleted(search, Path("/proc"), [Path("/dev/pts")])

        assert search.take_found()[0] == []  # opening it fails: Input/output error
    finally:
        os.close(near)
