"""A sealed link through the life of a speaker: keys that come, go and change, as its daemon and its verbs meet them."""

import json
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from device_auth.core.errors import StoreError
from device_auth.core.models import Seconds
from device_auth.core.states import StateWord, Trouble
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.server import Running, serve
from device_auth.world.envelope import Plain, write_envelope
from tests.command import Command
from tests.daemon_in_skipped_time import open_household
from tests.daemon_process import Household
from tests.key_sources import SEALING, KeySources
from tests.keys import key_of
from tests.links import make_link
from tests.simulated_speaker import strict
from tests.waiting import wait_for
from tests.world import World, open_world

LOST = (StateWord.UNLINKED, Trouble.REVOKED)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def keys_in(folder: Path) -> set[str]:
    """Return the keys of the generations of the link; some may be on their way while a daemon writes."""
    found = set()
    for path in folder.iterdir():
        with suppress(FileNotFoundError, ValueError):
            found.add(key_of(path.read_bytes()))
    return found


# -- the daemon, in skipped time


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as world:
        yield world


@pytest.fixture
def sources(tmp_path: Path) -> KeySources:
    return KeySources(tmp_path)


def live(
    world: World, sources: KeySources, seconds: float = 1, *, links: bool = False
) -> tuple[StateWord, Trouble]:
    """Start the daemon with the keys that are there, let it live, and give what it tells at the end."""
    began = world.passed
    keys = sources.keys
    with open_household(world, keys=lambda: keys) as household:
        if links:
            household.press(began + 1)
            household.approve(began + 20)
        view = household.live(began + seconds)
    return view.state, view.trouble


@pytest.mark.parametrize("name", SEALING)
@pytest.mark.parametrize("is_exchanged", [False, True], ids=["gone", "replaced by another"])
def test_a_daemon_whose_key_is_gone_says_so_keeps_all_and_links_again(
    world: World, sources: KeySources, name: str, caplog: pytest.LogCaptureFixture, *, is_exchanged: bool
) -> None:
    state = world.folder / "state"
    sources.give(name)
    assert live(world, sources, 100, links=True) == (StateWord.LINKED, Trouble.NONE)
    assert keys_in(state) == {name}
    assert not any(b"Sim|" in content for content in contents(state).values())
    sealed = contents(state)

    if is_exchanged:
        sources.exchange(name)
    else:
        sources.take(name)
    asked = len(world.amazon.pairs())
    with caplog.at_level(logging.ERROR):
        assert live(world, sources) == LOST
    assert live(world, sources) == LOST
    assert contents(state) == sealed
    assert len(world.amazon.pairs()) == asked
    told = world.told[-1]
    assert told.hint.startswith("Link the speaker again: press the button")
    assert told.refusal is not None
    assert name in told.refusal.message
    assert told.refusal.message in caplog.text
    assert "canary" not in caplog.text

    assert live(world, sources, 100, links=True) == (StateWord.LINKED, Trouble.NONE)
    kept = contents(state)
    assert set(sealed.values()) <= {kept[found] for found in kept if found.startswith("link.json.sealed-")}
    assert live(world, sources) == (StateWord.LINKED, Trouble.NONE)


@pytest.mark.parametrize("name", SEALING)
def test_a_key_that_is_brought_back_opens_the_link_at_the_next_start(
    world: World, sources: KeySources, name: str
) -> None:
    sources.give(name)
    live(world, sources, 100, links=True)
    sources.take(name)
    assert live(world, sources) == LOST

    sources.give(name)

    assert live(world, sources) == (StateWord.LINKED, Trouble.NONE)
    assert keys_in(world.folder / "state") == {name}


def test_a_board_that_does_not_answer_at_this_start_costs_nothing_at_the_next(
    world: World, sources: KeySources
) -> None:
    sources.give_board()
    live(world, sources, 100, links=True)
    sealed = contents(world.folder / "state")
    sources.give_tool("exec sleep 600")
    sources.timeout = Seconds(0.2)

    assert live(world, sources) == LOST
    assert "did not answer" in world.told[-1].refusal.message  # type: ignore[union-attr]  # told above
    assert contents(world.folder / "state") == sealed
    sources.give_board()
    sources.timeout = Seconds(20)
    assert live(world, sources) == (StateWord.LINKED, Trouble.NONE)


def test_a_new_link_that_is_given_up_leaves_the_sealed_one_to_its_key(
    world: World, sources: KeySources
) -> None:
    sources.give_file()
    live(world, sources, 100, links=True)
    sealed = contents(world.folder / "state")
    sources.take("key-file")
    began = world.passed
    with open_household(world, keys=lambda: sources.keys) as household:
        household.press(began + 1)
        household.at(began + 30, household.daemon.cancel)
        assert household.live(began + 60).state is StateWord.UNLINKED

    assert contents(world.folder / "state") == sealed
    sources.give_file()
    assert live(world, sources) == (StateWord.LINKED, Trouble.NONE)


def test_an_owner_forgets_a_link_whose_key_is_gone(world: World, sources: KeySources) -> None:
    sources.give_file()
    live(world, sources, 100, links=True)
    sources.take("key-file")
    began = world.passed
    with open_household(world, keys=lambda: sources.keys) as household:
        household.at(began + 1, household.daemon.unlink)
        view = household.live(began + 5)

    assert (view.state, view.trouble) == (StateWord.UNLINKED, Trouble.NONE)
    assert contents(world.folder / "state") == {}


def test_a_new_link_that_is_taken_back_leaves_the_sealed_one_kept(world: World, sources: KeySources) -> None:
    sources.give_file()
    live(world, sources, 100, links=True)
    sealed = contents(world.folder / "state")
    sources.take("key-file")
    began = world.passed
    with open_household(world, keys=lambda: sources.keys) as household:
        household.press(began + 1)
        household.approve(began + 20)
        world.amazon.script(
            Endpoint.REFRESH, [Fault(status=503, times=None)]
        )  # it would be proved before, now and then
        world.when[StateWord.PROVING] = household.daemon.cancel
        view = household.live(began + 100)

    assert view.state is StateWord.UNLINKED
    assert sorted(contents(world.folder / "state").values()) == sorted(sealed.values())


def test_a_reload_takes_up_a_link_whose_key_was_brought_back(world: World, sources: KeySources) -> None:
    sources.give_file()
    live(world, sources, 100, links=True)
    sources.take("key-file")
    began = world.passed
    with open_household(world, keys=lambda: sources.keys) as household:
        for second in (2, 5):
            household.new_options.append(household.daemon._options)
            household.at(began + second, household.daemon.reload)
        told: list[tuple[StateWord, Trouble]] = []
        for second in (1, 3, 6):
            household.at(began + second, lambda: told.append((household.last.state, household.last.trouble)))
        household.at(began + 4, sources.give_file)
        household.live(began + 10)

    assert told == [LOST, LOST, (StateWord.LINKED, Trouble.NONE)]


def test_a_reload_that_finds_what_is_not_for_us_tells_so(world: World) -> None:
    newer = b'{"version": 99}'
    with open_household(world) as household:
        household.new_options.append(household.daemon._options)
        household.at(1, lambda: (world.folder / "state" / "link.json").write_bytes(newer))
        household.at(2, household.daemon.reload)
        view = household.live(5)

    assert view.trouble is Trouble.STORAGE
    assert "Install the newer device-auth again" in view.hint
    assert contents(world.folder / "state") == {"link.json": newer}


def test_a_key_that_was_named_and_cannot_be_had_is_told_and_answers_a_press(world: World) -> None:
    problem = StoreError("there is no key to seal the link under", hint="Restart the speaker.")
    with open_household(world, problem=problem) as household:
        household.press(1)
        view = household.live(5)

    assert (view.state, view.trouble) == (StateWord.UNLINKED, Trouble.STORAGE)
    assert view.hint == "there is no key to seal the link under. Restart the speaker."
    assert view.sequence == 1
    assert world.amazon.pairs() == ()


# -- the daemon as a process


def provider_in(household: Household) -> object:
    return json.loads((household.state / "link.json").read_bytes())["key_provider"]


def test_a_link_moves_to_a_key_that_appears_and_waits_for_one_that_was_spoilt(
    household: Household, sources: KeySources
) -> None:
    with household.living() as living:
        household.link(living)
        assert provider_in(household) == "plain"

        path = sources.give_file()
        household.write_settings(f"key_file = {json.dumps(str(path))}\n")
        living.send(signal.SIGHUP)
        living.wait_until_told("the settings were reloaded")
        assert provider_in(household) == "plain"
        sealing = household.ask("seal")
        assert (sealing.returncode, sealing.stdout) == (0, "sealed\n")
        assert provider_in(household) == "key-file"
        living.wait_until("linked")
        wait_for(lambda: keys_in(household.state) == {"key-file"}, "something lies open")
        assert household.secrets() == {"token.json", "access-token"}
        living.end()

    path.chmod(0o644)
    sealed = contents(household.state)
    with household.living() as living:
        assert "chmod 600" in living.wait_until("unlinked", "misconfigured").hint
        living.press("tap")
        assert contents(household.state) == sealed

        path.chmod(0o600)
        living.send(signal.SIGHUP)
        living.wait_until("linked")
        assert household.ask("status").stdout.startswith("state:       linked")

        household.write_settings(f'key_file = {json.dumps(str(path))}\nkey_provider = "plain"\n')
        living.send(signal.SIGHUP)
        wait_for(lambda: provider_in(household) == "plain", "it is not moved back")
        living.wait_until_told("is now kept under plain")
        assert b"canary" not in living.told.encode()


# -- the verbs


@pytest.fixture
def sealed(
    tmp_path: Path, sources: KeySources, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Command]:
    """Link the speaker under a key; the provider is the test's parameter."""
    with serve(Amazon(strict(interval=1, approve_after=0), clock=time.monotonic)) as running:
        command = Command(tmp_path, running)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        sources.give(getattr(request, "param", "key-file"))
        set_environment(monkeypatch, sources)
        assert command.link() == 0
        yield command


def set_environment(monkeypatch: pytest.MonkeyPatch, sources: KeySources) -> None:
    for name in ("CREDENTIALS_DIRECTORY", "DEVICE_AUTH_KEY_FILE", "DEVICE_AUTH_KEY_PROVIDER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in sources.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("sealed", SEALING, indirect=True)
def test_verbs_with_the_key_do_as_ever_and_without_it_tell_and_may_only_forget(
    sealed: Command,
    sources: KeySources,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = request.node.callspec.params["sealed"]
    state = sealed.folder / "state"
    assert keys_in(state) == {name}
    assert sealed.run("status") == 0
    assert sealed.run("token", "--min-lifetime", "3600") == 0
    assert sealed.link("--again") == 0
    assert keys_in(state) == {name}

    sources.take(name)
    set_environment(monkeypatch, sources)
    before = contents(state)
    asked = len(sealed.running.amazon.pairs())
    for words in (["status"], ["token"], ["link", *sealed.provider], ["link", "--again", *sealed.provider]):
        capsys.readouterr()
        assert sealed.run(*words) == 74
        told = capsys.readouterr()
        assert told.out == ""
        assert f"the key is held by the service ({name}: " in told.err
        assert "systemctl start device-auth" in told.err
    assert contents(state) == before
    assert len(sealed.running.amazon.pairs()) == asked

    assert sealed.run("unlink") == 0
    assert contents(state) == {}
    assert sealed.link() == 0
    assert keys_in(state) == {"plain"}


def test_verbs_that_find_another_key_tell_so(
    sealed: Command, sources: KeySources, capsys: pytest.CaptureFixture[str]
) -> None:
    sources.exchange("key-file")

    assert sealed.run("status") == 74
    assert "sealed under another key than the present one of key-file" in capsys.readouterr().err


@pytest.mark.parametrize("has_key", [True, False], ids=["with the key", "without the key"])
def test_a_wipe_proves_that_nothing_is_left_with_or_without_the_key(
    sealed: Command,
    sources: KeySources,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    has_key: bool,
) -> None:
    if not has_key:
        sources.take("key-file")
        set_environment(monkeypatch, sources)
    copy = sealed.folder / "run" / "copy"
    copy.write_bytes(json.loads((sealed.folder / "state" / "link.json").read_bytes())["sealed"].encode())

    assert sealed.run("unlink", "--wipe") == 74
    assert str(copy) in capsys.readouterr().err
    copy.unlink()
    assert sealed.run("unlink", "--wipe", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["secrets_found"], told["files_not_read"]) == (0, 0)
    assert told["media"] == {"erased": False, "held_plain_token": False}


@pytest.mark.parametrize(
    ("provider", "exit_code", "message"),
    [
        ("key-file", 78, "key_file is not set"),
        ("rpi-fw-crypto", 74, "rpi-fw-crypto is not installed"),
        ("systemd-credential", 74, "only the service receives it from the service manager"),
    ],
)
def test_a_key_that_cannot_be_had_is_told_before_a_code_is_asked_for(
    tmp_path: Path,
    running: Running,
    sources: KeySources,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    provider: str,
    exit_code: int,
    message: str,
) -> None:
    sources.settings["key_provider"] = provider
    set_environment(monkeypatch, sources)

    assert Command(tmp_path, running).link() == exit_code
    assert message in capsys.readouterr().err
    assert running.amazon.pairs() == ()


def test_a_token_is_not_refreshed_under_a_key_file_that_is_open_to_others(
    sealed: Command,
    sources: KeySources,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    sources.settings["key_provider"] = "plain"
    set_environment(monkeypatch, sources)
    assert sealed.link("--again") == 0
    assert "now kept under plain" in caplog.text
    del sources.settings["key_provider"]
    set_environment(monkeypatch, sources)
    assert sealed.run("token") == 75
    assert "device-auth seal" in capsys.readouterr().err
    (sealed.folder / "a key").chmod(0o644)

    assert sealed.run("token") == 75
    assert sealed.run("seal") == 78
    assert "chmod 600" in capsys.readouterr().err


def test_a_planted_plain_link_is_never_used_and_a_plain_one_of_ours_is_sealed(
    sealed: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    state = sealed.folder / "state"
    for path in state.iterdir():
        path.unlink()
    (sealed.folder / "run" / "token.json").unlink()
    planted = replace(make_link(), token_endpoint="http://127.0.0.1:9/stolen", is_proved=True)
    (state / "link.json").write_bytes(write_envelope(planted, Plain()))
    capsys.readouterr()

    assert sealed.run("status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["state"], status["trouble"]) == ("unlinked", "misconfigured")
    assert "device-auth seal" in status["hint"]
    assert sealed.run("token") == 75
    assert sealed.run("export", "json", "--to", "-", "--copy") == 75
    told = capsys.readouterr()
    assert "although a key is set up" in told.err
    assert "canary" not in told.out
    assert [path.name for path in state.iterdir()] == ["link.json.plain-1"]

    assert sealed.run("seal", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"sealed": True}
    assert keys_in(state) == {"key-file"}
    assert sealed.run("unlink") == 0
    assert sealed.run("seal") == 75


def test_a_service_sets_a_plain_link_beside_a_key_aside_tells_so_and_seals_it(
    household: Household, sources: KeySources
) -> None:
    with household.living() as living:
        household.link(living)
        assert household.ask("seal").returncode == 78
        living.end()
    path = sources.give_file()
    household.write_settings(f"key_file = {json.dumps(str(path))}\n")

    with household.living() as living:
        assert "device-auth seal" in living.wait_until("unlinked", "misconfigured").hint
        asked = household.ask("token")
        assert asked.returncode == 75
        assert "device-auth seal" in asked.stderr
        assert not (household.state / "link.json").exists()

        assert household.ask("seal").stdout == "sealed\n"
        living.wait_until("linked")
        assert household.ask("token").returncode == 0
        assert keys_in(household.state) == {"key-file"}
        assert household.ask("unlink").returncode == 0
        assert household.ask("seal").returncode == 75


def test_no_key_is_seen_in_what_the_verbs_say(
    sealed: Command, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for words in (["status"], ["token", "--min-lifetime", "3600"], ["config", "show"], ["unlink", "-v"]):
            assert sealed.run(*words, "--json") == 0

    told = capsys.readouterr()
    assert "canary" not in told.out + told.err + caplog.text
