import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError, DeviceAuthError, StoreError
from device_auth.core.models import Seconds
from device_auth.world.envelope import KeyMissing, Plain
from device_auth.world.keys import KEY_FILE, RPI_FW_CRYPTO, SYSTEMD_CREDENTIAL
from device_auth.world.sealing import SealingKey
from device_auth.world.settings import KEY_PROVIDERS
from tests.command import ROOT
from tests.key_sources import MATERIAL, SEALING, KeySources, names
from tests.waiting import given_time, wait_for


@pytest.fixture
def sources(tmp_path: Path) -> KeySources:
    return KeySources(tmp_path)


def is_running(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def fault_at(sources: KeySources) -> DeviceAuthError:
    """Return why nothing can be sealed."""
    with pytest.raises(DeviceAuthError) as caught:
        sources.keys.sealing()
    assert "canary" not in f"{caught.value!r}{caught.value.hint}"
    return caught.value


# -- which one


@pytest.mark.parametrize("name", SEALING)
def test_without_the_library_nothing_is_sealed_and_nothing_left_open(
    sources: KeySources, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sources.give(name)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.kdf.hkdf", None)

    assert isinstance(fault_at(sources), ConfigError)
    with pytest.raises(KeyMissing, match="cryptography cannot be loaded"):
        sources.keys.named(name)


def test_with_nothing_set_up_the_link_is_plain(sources: KeySources) -> None:
    assert sources.keys.sealing().name == "plain"
    assert names(sources.keys) == ["plain"]
    assert sources.keys.problems == ()


@pytest.mark.parametrize("name", SEALING)
def test_each_provider_alone_seals_and_says_what_it_protects_against(sources: KeySources, name: str) -> None:
    sources.give(name)

    key = sources.keys.sealing()
    assert isinstance(key, SealingKey)
    assert key.name == name
    assert names(sources.keys) == [name, "plain"]
    assert key.protects.startswith("Protects the link from")
    assert "Not from root" in key.protects
    assert sources.keys.named(name).fingerprint == key.fingerprint
    assert sources.keys.problems == ()


@pytest.mark.parametrize(
    ("better", "worse"), [(one, two) for n, one in enumerate(SEALING) for two in SEALING[n + 1 :]]
)
def test_of_two_providers_the_better_seals_and_both_open(
    sources: KeySources, better: str, worse: str
) -> None:
    sources.give(better)
    sources.give(worse)

    assert names(sources.keys) == [better, worse, "plain"]
    assert sources.keys.sealing().name == better
    assert sources.keys.named(worse).name == worse


@pytest.mark.parametrize("name", KEY_PROVIDERS)
def test_the_provider_that_is_named_seals_and_the_others_open(sources: KeySources, name: str) -> None:
    for each in SEALING:
        sources.give(each)
    sources.settings["key_provider"] = name

    assert names(sources.keys) == [name, *(other for other in KEY_PROVIDERS if other != name)]
    assert sources.keys.sealing().name == name


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        (SYSTEMD_CREDENTIAL, StoreError, "only the service receives it from the service manager"),
        (RPI_FW_CRYPTO, StoreError, "rpi-fw-crypto is not installed"),
        (KEY_FILE, ConfigError, "key_file is not set"),
    ],
)
def test_a_provider_that_is_named_and_not_there_is_not_passed_over(
    sources: KeySources, name: str, kind: type[DeviceAuthError], message: str
) -> None:
    sources.settings["key_provider"] = name

    fault = fault_at(sources)
    assert type(fault) is kind
    assert message in str(fault)
    assert [(problem.name, problem.message) for problem in sources.keys.problems] == [(name, message)]
    assert sources.keys.problems[0].hint
    assert names(sources.keys) == ["plain"]


@pytest.mark.parametrize("name", SEALING)
def test_two_keys_of_one_provider_are_told_apart(sources: KeySources, name: str) -> None:
    sources.give(name)
    first = sources.keys.named(name)
    sources.give_board("b")
    sources.give_file(MATERIAL + b"!")
    sources.give_credential(MATERIAL + b"?")

    second = sources.keys.named(name)
    assert second.fingerprint != first.fingerprint
    assert len(first.fingerprint) == 16


def test_each_provider_is_looked_for_once(sources: KeySources) -> None:
    path = sources.give_credential()
    keys = sources.keys
    first = keys.sealing()
    path.unlink()

    assert keys.sealing() is first


def test_a_provider_of_a_later_program_is_missing(sources: KeySources) -> None:
    with pytest.raises(KeyMissing, match="this program does not know this provider"):
        sources.keys.named("tpm2")


# -- the credential


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is too short for a key (under 32 bytes)"),
        (b"canary" * 5, "is too short for a key (under 32 bytes)"),
        (b"canary" * 1000, "is too large for a key (over 4096 bytes)"),
        (bytes(32), "is one byte repeated"),
    ],
    ids=["empty", "short", "large", "zeros"],
)
def test_what_is_no_key_is_not_passed_over(sources: KeySources, content: bytes, message: str) -> None:
    sources.give_file()
    sources.give_credential(content)

    assert type(fault_at(sources)) is StoreError
    assert message in str(fault_at(sources))
    assert [problem.name for problem in sources.keys.problems] == [SYSTEMD_CREDENTIAL]
    assert names(sources.keys) == [KEY_FILE, "plain"]


def test_a_credential_that_cannot_be_read_is_not_passed_over(sources: KeySources) -> None:
    path = sources.give_credential()
    path.unlink()
    path.mkdir()

    assert f"cannot read {path}" in str(fault_at(sources))


def test_a_service_without_the_credential_has_none(sources: KeySources) -> None:
    sources.give_credential().unlink()

    assert sources.keys.sealing().name == "plain"
    with pytest.raises(KeyMissing) as caught:
        sources.keys.named(SYSTEMD_CREDENTIAL)
    assert "the service manager gave no credential device-auth.key" in str(caught.value)


# -- the file


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_key_file_that_others_may_open_is_refused_with_the_command_that_helps(
    sources: KeySources, mode: int
) -> None:
    path = sources.give_file(mode=mode)

    fault = fault_at(sources)
    assert (type(fault), fault.exit_code) == (ConfigError, 78)
    assert f"is open to others (mode {mode:04o})" in str(fault)
    assert fault.hint == f"Run: chmod 600 '{path}'"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize(("content", "message"), [(b"canary", "too short"), (bytes(64), "one byte repeated")])
def test_a_key_file_that_holds_no_key_is_refused_with_the_command_that_makes_one(
    sources: KeySources, content: bytes, message: str
) -> None:
    path = sources.give_file(content)

    fault = fault_at(sources)
    assert message in str(fault)
    assert fault.hint == f"Make one: head -c 32 /dev/urandom > '{path}'"


def test_a_key_file_that_is_not_there_is_refused(sources: KeySources) -> None:
    path = sources.give_file()
    path.unlink()

    assert str(fault_at(sources)).endswith(f"there is no key_file {path}")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_key_file_that_is_no_file_is_neither_waited_for_nor_used(
    sources: KeySources, make: Callable[[Path], None]
) -> None:
    path = sources.give_file()
    path.unlink()
    make(path)

    assert f"cannot read key_file {path}" in str(fault_at(sources))


def test_a_key_file_of_no_possible_name_is_refused(sources: KeySources) -> None:
    sources.settings["key_file"] = "/a\0b"

    assert "must not have a NUL character" in str(fault_at(sources))


def test_a_key_file_must_be_named_by_its_whole_path(sources: KeySources) -> None:
    sources.settings["key_file"] = "device-auth.key"

    assert "must be an absolute path" in str(fault_at(sources))


def test_another_users_key_file_is_refused_by_all_but_root(sources: KeySources) -> None:
    path = sources.give_file()
    mine = path.stat().st_uid

    for euid in (mine, 0):
        sources.euid = euid
        assert sources.keys.sealing().name == KEY_FILE
    if mine != 0:
        sources.euid = mine + 1
        assert "belongs to another user" in str(fault_at(sources))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_key_file_of_another_user_is_refused_with_the_command_that_helps(sources: KeySources) -> None:
    path = sources.give_file()
    os.chown(path, 65534, -1)
    sources.euid = 1000

    assert "belongs to another user (uid 65534)" in str(fault_at(sources))
    assert fault_at(sources).hint == f"Run: sudo chown 1000 '{path}'"


def test_a_key_file_that_was_set_up_and_fails_is_not_passed_over_for_none(sources: KeySources) -> None:
    sources.give_file(mode=0o644)

    assert "there is no key to seal the link under (key-file)" in str(fault_at(sources))


def test_a_key_file_that_fails_does_no_harm_beside_a_better_key(sources: KeySources) -> None:
    sources.give_file(mode=0o644)
    sources.give_credential()

    assert sources.keys.sealing().name == SYSTEMD_CREDENTIAL
    assert [problem.name for problem in sources.keys.problems] == [KEY_FILE]


# -- the board


ODD = {
    "no key": ("exit 250", "this board's one-time memory holds no key"),
    "a failure": ("echo canary; echo canary >&2; exit 252", "rpi-fw-crypto ended with status 252"),
    "nothing": ("cat", "rpi-fw-crypto returned no key"),
    "silence": ("exit 0", "rpi-fw-crypto returned no key"),
    "too much": ("head -c 33 /dev/zero", "rpi-fw-crypto returned no key"),
    "words": ("echo canary canary canary", "rpi-fw-crypto returned no key"),
    "an open end": ("sleep 1 & exit 0", "rpi-fw-crypto returned no key"),
    "a crash": ("kill -9 $$", "rpi-fw-crypto was ended by the signal SIGKILL"),
}


def test_a_folder_of_the_path_that_cannot_be_looked_into_is_passed_over(sources: KeySources) -> None:
    sources.environ["PATH"] = f"/{'x' * 300}"

    assert sources.keys.sealing().name == "plain"


@pytest.mark.parametrize("case", ODD.values(), ids=ODD)
def test_a_board_that_gives_no_key_leaves_the_link_plain_unless_it_is_named(
    sources: KeySources, case: tuple[str, str]
) -> None:
    script, message = case
    sources.give_tool(script)

    assert sources.keys.sealing().name == "plain"
    assert sources.keys.problems == ()
    sources.settings["key_provider"] = RPI_FW_CRYPTO
    assert message in str(fault_at(sources))


@pytest.mark.parametrize(
    "script",
    ["sleep 600", "sleep 600 & echo $! >> PIDS; wait", "exec cat /dev/zero"],
    ids=["hangs", "hangs with a child", "never ends its answer"],
)
def test_a_tool_that_does_not_end_is_ended_with_all_it_began(sources: KeySources, script: str) -> None:
    pids = sources.folder / "pids"
    sources.give_tool(f"echo $$ > {pids}\n{script}".replace("PIDS", str(pids)))
    sources.settings["key_provider"] = RPI_FW_CRYPTO

    def ask(seconds: float) -> str:
        sources.timeout = Seconds(seconds)
        return str(fault_at(sources))

    said = given_time(ask, lambda _: pids.exists() and pids.read_text().count("\n") > script.count("PIDS"))
    assert "rpi-fw-crypto did not answer within" in said
    for pid in pids.read_text().split():
        wait_for(lambda pid=pid: not is_running(pid), f"{pid} goes on")  # type: ignore[misc]  # a default binds it now


def test_a_tool_that_cannot_be_run_gives_no_key(sources: KeySources) -> None:
    sources.give_tool("")
    (sources.folder / "bin" / "rpi-fw-crypto").write_text("#!/no/such/shell\n")
    sources.settings["key_provider"] = RPI_FW_CRYPTO

    assert "cannot run" in str(fault_at(sources))


def test_a_memory_that_was_never_written_is_no_key(sources: KeySources) -> None:
    sources.give_board("")
    sources.settings["key_provider"] = RPI_FW_CRYPTO

    assert "this board's one-time memory holds no key" in str(fault_at(sources))


def test_the_tool_is_given_no_secret_of_ours(sources: KeySources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE_AUTH_CLIENT_SECRET", "canary")
    sources.environ |= os.environ | {"PATH": sources.environ["PATH"]}
    sources.give_tool(f'env > {sources.folder}/seen; echo "$*" >> {sources.folder}/seen')

    sources.keys.sealing()

    seen = (sources.folder / "seen").read_text()
    assert "canary" not in seen
    assert seen.endswith("hmac --in /dev/stdin --key-id 1\n")


# -- what it costs


def test_the_tool_is_not_run_to_read_what_is_plain_or_sealed_by_another(sources: KeySources) -> None:
    sources.give_tool(f"touch {sources.folder}/was-run")
    sources.give_credential()
    keys = sources.keys

    keys.named(SYSTEMD_CREDENTIAL)
    keys.sealing()

    assert not (sources.folder / "was-run").exists()


def test_who_has_no_key_never_loads_what_seals(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from device_auth.world.keys import find_keys\n"
        "from device_auth.world.settings import read_settings\n"
        "from device_auth.world.store import FileStore\n"
        "from tests.links import make_link\n"
        "keys = find_keys(read_settings({}, None, {}), {'PATH': '/nowhere'})\n"
        f"with FileStore(Path({str(tmp_path)!r}), keys=lambda: keys) as store:\n"
        "    store.replace(make_link()); store.save(make_link(generation=2)); store.move_to_best_key()\n"
        "    store.read(); store.prove_writable()\n"
        "assert not {'cryptography', 'subprocess'} & set(sys.modules), 'loaded'\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_plain_says_that_it_protects_nothing_from_a_thief() -> None:
    assert "anyone who has its card can read the link" in Plain.protects
