"""``device-auth simulator`` with its options, as a rig starts it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import requests

from tests.command import ROOT, bare_environment, started, stream_of
from tests.simulated_speaker import CLIENT_ID, SCOPE_DATA
from tests.waiting import LONG

MISTYPED = CLIENT_ID[:-1] + "x"


class Rig:
    """A program that speaks with the command."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses

    def request_pair(self, client_id: str = CLIENT_ID) -> dict[str, Any]:
        """Ask for a code pair as a program does that knows nothing of the house rules."""
        form = {
            "response_type": "device_code",
            "client_id": client_id,
            "scope": "alexa:all",
            "scope_data": SCOPE_DATA,
        }
        url = f"{self.addresses['base_url']}create/codepair"
        pair: dict[str, Any] = requests.post(url, data=form, timeout=LONG).json()
        return pair

    def poll(self, pair: dict[str, Any]) -> dict[str, Any]:
        form = {"grant_type": "device_code", **{name: pair[name] for name in ("device_code", "user_code")}}
        answer: dict[str, Any] = requests.post(
            f"{self.addresses['base_url']}token", data=form, timeout=LONG
        ).json()
        return answer

    def control(self, what: str, **body: object) -> None:
        requests.post(f"{self.addresses['control']}{what}", json=body, timeout=LONG).raise_for_status()

    def referee(self) -> tuple[set[str], set[str]]:
        """Return the rules of complaints and those of notes."""
        told = requests.get(f"{self.addresses['control']}referee", timeout=LONG).json()
        complaints, notes = ({each["kind"] for each in told[name]} for name in ("complaints", "notes"))
        return complaints, notes


@contextmanager
def rig(*words: str) -> Iterator[Rig]:
    with started("simulator", "--json", "--port", "0", *words) as simulator:
        yield Rig(json.loads(stream_of(simulator.stdout).readline()))
        simulator.terminate()
        assert simulator.wait(LONG) == 0


def test_house_rules_are_notes_until_the_referee_is_strict() -> None:
    with rig() as mild:
        mild.request_pair()
        mildly = mild.referee()
    with rig("--strict", "--allow", "other-accept") as hard:
        hard.request_pair()
        strictly = hard.referee()

    assert mildly == (set(), {"other-accept", "no-accept-language"})
    assert strictly == ({"no-accept-language"}, {"other-accept"})


def test_a_rig_sees_a_client_id_that_is_not_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    path.write_text(f'[[client]]\nid = "{CLIENT_ID}"\n')

    with rig("--clients-file", str(path)) as known, rig() as anyone:
        answers = [known.request_pair(), known.request_pair(MISTYPED), anyone.request_pair(MISTYPED)]

    assert ["user_code" in answer for answer in answers] == [True, False, True]
    assert answers[1]["error"] == "InvalidValue"


def test_the_commands_that_it_prints_have_a_client_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    path.touch(0o600)
    path.write_text(f'[[client]]\nid = "{CLIENT_ID}"\nsecret = "canary"\n[[client]]\nid = "a-tv"\n')

    with started("simulator", "--port", "0", "--clients-file", str(path)) as simulator:
        lines = list(iter(stream_of(simulator.stdout).readline, "Ctrl-C stops it.\n"))

    commands = [line.split("device-auth ")[1] for line in lines if "with:" in line]
    assert [line.split()[0] for line in commands] == ["link", "authorize", "link"]
    assert f"--client-id {CLIENT_ID} " in commands[0]
    assert "--client-id a-tv " in commands[2]
    assert "canary" not in "".join(lines)


def test_the_former_file_of_secrets_is_read_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.touch(0o600)
    path.write_text(f"{CLIENT_ID} canary\n")

    with started("simulator", "--json", "--port", "0", "--secrets-file", str(path)) as simulator:
        known = Rig(json.loads(stream_of(simulator.stdout).readline()))
        assert "user_code" in known.request_pair(MISTYPED)
        simulator.terminate()
        _, errors = simulator.communicate(timeout=LONG)

    assert "--secrets-file will be gone in the next version" in errors
    assert "canary" not in errors


TAKEN_BY_ANOTHER_THREAD: Final = """
import signal, sys, threading
from device_auth.cli.main import main

def take():
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=take, daemon=True).start()
sys.exit(main())
"""
"""The command, with a thread that takes the signal: as for one just before a wait, nothing interrupts the main thread."""


def test_a_signal_that_does_not_interrupt_the_wait_ends_it_too() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TAKEN_BY_ANOTHER_THREAD, "simulator", "--json", "--port", "0"],
        cwd=ROOT,
        env=bare_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as simulator:
        try:
            stream_of(simulator.stdout).readline()
            stream_of(simulator.stdin).write("\n")
            stream_of(simulator.stdin).flush()

            assert simulator.wait(LONG) == 0
        finally:
            simulator.kill()


def test_a_declined_code_can_stay_pending() -> None:
    with rig("--denial", "silent") as silent:
        pair = silent.request_pair()
        silent.control("deny", user_code="all")

        assert silent.poll(pair)["error"] == "authorization_pending"
