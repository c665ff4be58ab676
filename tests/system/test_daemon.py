"""The daemon as a process: pressed, asked, revoked, stopped, killed, misled; the simulated Amazon on real sockets."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

import pytest

from device_auth.client import Revoked, SpeakerUnlinked
from device_auth.core.models import Mark
from device_auth.simulator.faults import Endpoint, Fault
from device_auth.simulator.server import serve
from device_auth.world.store import FileStore
from device_auth.world.transport import READ_TIMEOUT
from tests.clock_steps import step_clock
from tests.command import ROOT, bare_environment, read_event
from tests.daemon_process import Household, Living
from tests.ports import free_port
from tests.waiting import LONG, is_once_within, wait_for


def curl(path: Path, target: str) -> tuple[int, str]:
    words = ["curl", "-sS", "--unix-socket", str(path), "-w", "\n%{http_code}", f"http://localhost{target}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG, check=True)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


# -- a day


def test_from_a_press_to_a_link_that_is_used_revoked_made_anew_and_unlinked(
    household: Household, living: Living
) -> None:
    living.wait_until("unlinked")
    living.press("tap")
    code = living.user_code()
    living.wait_until_told("light: orange, breathing")
    assert household.running.amazon.approve(code) == 1
    living.wait_until("linked")
    living.wait_until_told("light: cyan, steady")
    wait_for(lambda: household.token_files() == {"token.json", "access-token"})

    file = json.loads((household.run / "token.json").read_text())
    bare = (household.run / "access-token").read_text()
    status, body = curl(living.path, "/v1/token")
    assert status == 200
    assert json.loads(body)["access_token"] == bare == file["access_token"]
    assert living.client.token().access_token == bare
    assert household.ask("token").stdout == f"{bare}\n"
    assert stat.S_IMODE((household.run / "access-token").stat().st_mode) == 0o640
    assert household.secrets() == {"link.json", "link.json.previous", "token.json", "access-token"}

    assert living.client.token(100_000).access_token == bare  # as fresh as can be: no refresh for it
    living.send(signal.SIGKILL)
    living.process.wait()
    mark_revoked(household)  # how it comes to that takes its time: tests/kills.py
    with household.living() as again:
        again.wait_until("unlinked", "revoked")
        assert curl(again.path, "/v1/token")[0] == 410
        with pytest.raises(Revoked):
            again.client.token()
        assert household.token_files() == set()
        again.wait_until_told("light: yellow, 4 short blinks")
        wait_for(lambda: "Your account has ended the link" in household.heard)

        household.link(again)
        assert again.client.token().access_token != bare

        again.press("hold 5.2")
        again.wait_until_told("light: orange, steady")
        wait_for(lambda: "To unlink this speaker, press" in household.heard)
        again.press("tap")
        again.wait_until("unlinked")
        assert household.secrets() == set()
        assert household.token_files() == set()
        with pytest.raises(SpeakerUnlinked):
            again.client.token()
        assert household.running.amazon.referee.complaints() == ()


# -- the command line, through the socket


def test_link_through_the_daemon_tells_the_code_as_json_and_then_the_link(
    household: Household, living: Living
) -> None:
    living.wait_until("unlinked")
    with household.command.started("link", "--json") as process:
        code = read_event(process, "code")
        assert code["user_code"] == living.user_code()
        assert code["interval"] == 1
        assert household.running.amazon.approve(str(code["user_code"])) == 1

        assert read_event(process, "linked")["state"] == "linked"
        assert process.wait(LONG) == 0

    assert json.loads(household.ask("status", "--json").stdout)["state"] == "linked"
    token = json.loads(household.ask("token", "--json").stdout)
    assert token["access_token"] == (household.run / "access-token").read_text()
    assert household.ask("link").stdout == "linked\n"
    unlinked = household.ask("unlink", "--json")
    assert (unlinked.returncode, json.loads(unlinked.stdout)) == (0, {"state": "unlinked", "revoked": False})
    assert household.secrets() == set()


def test_link_joins_the_code_that_a_press_has_asked_for(household: Household, living: Living) -> None:
    living.press("tap")
    code = living.user_code()
    with household.command.started("link", "--json") as process:
        assert read_event(process, "code")["user_code"] == code
    assert len(household.running.amazon.pairs()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_link_discards_the_code_of_the_daemon_too(
    household: Household, living: Living, number: signal.Signals
) -> None:
    living.wait_until("unlinked")
    with household.command.started("link", "--json") as process:
        read_event(process, "code")
        process.send_signal(number)

        assert read_event(process, "refused")["reason"] == "cancelled"
        assert process.wait(LONG) == 130
    living.wait_until("unlinked")
    assert not (household.run / "pending.json").exists()


def test_a_terminal_that_is_gone_leaves_the_code_of_the_daemon(household: Household, living: Living) -> None:
    living.wait_until("unlinked")
    with household.command.started("link", "--json") as process:
        code = read_event(process, "code")["user_code"]
        process.send_signal(signal.SIGHUP)

        assert process.wait(LONG) == 130
    assert living.user_code() == code
    with household.command.started("link", "--json") as process:
        assert read_event(process, "code")["user_code"] == code


def test_a_link_that_the_owner_declines_ends_with_77(household: Household, living: Living) -> None:
    living.wait_until("unlinked")
    with household.command.started("link", "--json") as process:
        assert household.running.amazon.deny(str(read_event(process, "code")["user_code"])) == 1

        assert read_event(process, "refused")["reason"] == "denied"
        assert process.wait(LONG) == 77
    living.wait_until("unlinked", "denied")


def test_no_other_process_of_the_user_may_read_the_memory(tmp_path: Path) -> None:
    # Root may read every process: so both are started without the right to.
    without_right = ["setpriv", "--bounding-set=-sys_ptrace"] if os.geteuid() == 0 else []

    def may_read(process: "subprocess.Popen[bytes]") -> bool:
        words = [*without_right, "sh", "-c", f": < /proc/{process.pid}/mem"]
        return subprocess.run(words, capture_output=True, check=False, timeout=LONG).returncode == 0

    places = ["--state-dir", str(tmp_path / "state"), "--runtime-dir", str(tmp_path / "run")]
    run = [*without_right, sys.executable, "-m", "device_auth", "run", *places]
    with (
        subprocess.Popen([*without_right, "cat"], stdin=subprocess.PIPE) as other,
        subprocess.Popen(run, cwd=ROOT, env=bare_environment(), stderr=subprocess.DEVNULL) as service,
    ):
        try:
            wait_for((tmp_path / "run" / "api.sock").exists)

            assert (may_read(service), may_read(other)) == (False, True)
        finally:
            service.terminate()
            other.terminate()


def test_a_second_writer_is_kept_out(household: Household, living: Living) -> None:
    living.wait_until("unlinked")

    assert household.ask("unlink", "--wipe").returncode == 75
    assert living.status() is not None


def test_a_lock_that_is_held_at_the_start_is_told_and_waited_for(household: Household) -> None:
    with household.living() as living:
        household.link(living)
        assert living.end() == 0
    with FileStore(household.state), household.living() as living:
        hint = living.wait_until("starting", "storage").hint
        assert f"in use by process {os.getpid()} " in hint
        spoken = household.heard
        living.press("tap")
        wait_for(lambda: len(household.heard) > len(spoken), "a press is not answered")
        assert curl(living.path, "/v1/token")[0] == 503
        for verb, said in (("link", hint), ("unlink", hint), ("token", "")):
            done = household.ask(verb)
            assert done.returncode in {74, 75}, done.stderr
            assert "".join(said.split()) in "".join(done.stderr.split())  # a long path is broken
        living.send(signal.SIGHUP)
        assert living.end() == 0
    assert len(household.running.amazon.pairs()) == 1


def test_a_lock_that_comes_free_ends_the_wait_by_itself(household: Household) -> None:
    with household.living() as living:
        household.link(living)
        assert living.end() == 0
    store = FileStore(household.state).__enter__()
    with household.living() as living:
        living.wait_until("starting", "storage")
        living.press("tap")
        store.__exit__()
        living.wait_until("linked")
        assert living.client.token().expires_in > 3000
        assert living.end() == 0
    assert len(household.running.amazon.pairs()) == 1


def test_a_second_service_takes_over_when_the_first_ends(household: Household) -> None:
    with household.living() as first:
        household.link(first)
        token = first.client.token().access_token
        with household.living() as second:
            second.wait_until_told("is in use by process")
            assert household.token_files() == {"token.json", "access-token"}
            assert first.client.token().access_token == token
            first.end()
            second.wait_until("linked")
            wait_for(household.token_files)
            assert second.end() == 0


def test_a_store_that_cannot_be_opened_is_told_and_tried_again(household: Household) -> None:
    household.state.write_text("not a folder")
    with household.living() as living:
        assert "not a folder" in living.wait_until("starting", "storage").hint
        household.state.unlink()
        living.send(signal.SIGHUP)
        living.wait_until("unlinked")
        household.link(living)
        assert living.end() == 0


# -- stopped, killed, started again


def test_a_stopped_daemon_takes_its_tokens_away_and_leaves_the_link(
    household: Household, living: Living
) -> None:
    household.link(living)

    assert living.end() == 0
    assert household.token_files() == set()
    assert not living.path.exists()
    assert household.secrets() == {"link.json", "link.json.previous"}
    with household.living() as again:
        again.wait_until("linked")
        wait_for(household.token_files)
        assert again.client.token().access_token == (household.run / "access-token").read_text()


def test_a_request_that_has_come_is_answered_by_a_service_that_is_being_stopped(
    household: Household, tmp_path: Path
) -> None:
    def is_answered(notify: Path) -> bool:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
            socket.socket(socket.AF_UNIX) as program,
        ):
            manager.settimeout(LONG)
            manager.bind(str(notify))
            with household.living(NOTIFY_SOCKET=str(notify)) as living:
                program.connect(str(living.path))
                program.sendall(b"GET /v1/status HTTP/1.1\r\n")
                assert living.status()  # who came before is accepted by now
                living.send(signal.SIGTERM)
                while b"STOPPING=1" not in manager.recv(4096):
                    pass
                with suppress(subprocess.TimeoutExpired):
                    living.process.wait(0.3)  # it would be over by now
                with suppress(OSError):
                    program.sendall(b"Host: localhost\r\n\r\n")
                    return program.recv(4096).startswith(b"HTTP/1.1 200 ")
        return False

    # the service waits a second for it: a test on a busy machine may be too slow
    assert any(is_answered(tmp_path / f"notify-{number}") for number in range(9))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_right_after_the_socket_was_made_stops_it_well(
    household: Household, number: signal.Signals
) -> None:
    path = household.run / "api.sock"
    for _ in range(5):
        with household.living(waits=False) as living:
            while not path.exists():
                assert living.process.poll() is None, living.told
                Event().wait(0.001)
            living.send(number)
            assert living.process.wait(LONG) == 0
        assert not path.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_started_again_goes_on_with_its_code(
    household: Household, living: Living, number: signal.Signals
) -> None:
    living.press("tap")
    code = living.user_code()
    living.end(number)

    assert (household.run / "pending.json").exists()
    with household.living() as again:
        assert again.user_code() == code
        household.approve(again)
        again.wait_until("linked")
    assert len(household.running.amazon.pairs()) == 1
    assert household.running.amazon.referee.complaints() == ()


def test_a_killed_daemon_serves_the_token_it_had_without_asking_for_another(
    household: Household, living: Living
) -> None:
    household.link(living)
    token = living.client.token().access_token
    [before] = [grant.refreshes for grant in household.running.amazon.grants()]
    living.end(signal.SIGKILL)
    household.running.amazon.script(Endpoint.REFRESH, [Fault(status=503)] * 20)

    with household.living() as again:
        again.wait_until("linked")
        assert again.client.token().access_token == token
        assert again.end() == 0
    assert [grant.refreshes for grant in household.running.amazon.grants()] == [before]


def test_a_code_for_another_account_after_a_revoked_link_outlives_a_restart(
    household: Household, living: Living
) -> None:
    household.link(living)
    path = household.state / "link.json"
    living.end()
    mark_revoked(household)
    with household.living() as again:
        again.wait_until("unlinked", "revoked")
        again.press("tap")
        code = again.user_code()
        again.end(signal.SIGKILL)
    with household.living() as third:
        assert third.user_code() == code
        household.approve(third)
        third.wait_until("linked")
    assert "revoked" not in path.read_text()


def mark_revoked(household: Household) -> None:
    """Mark the stored link as a refusal, twice, would."""
    with FileStore(household.state) as store:
        link = store.read()
        assert link is not None
        store.save(replace(link, mark=Mark.REVOKED, marked_at=link.linked_at))


# -- settings and parts


def test_settings_read_anew_take_effect_and_bad_ones_do_not(household: Household) -> None:
    own = household.command.provider
    [*_, base_url] = own
    with household.living(provider=[]) as living:
        living.wait_until("unlinked", "misconfigured")
        names = {"client_id": own[1], "product_id": "kitchen", "dsn": "K-0001", "base_url": base_url}
        good = "".join(f'{name} = "{value}"\n' for name, value in names.items())
        household.write_settings(good)
        living.send(signal.SIGHUP)
        living.wait_until("unlinked")

        for bad in ("client_id = [", good.replace("kitchen", ""), "colour = 3\n"):
            household.write_settings(bad)
            living.send(signal.SIGHUP)
            assert "former settings are kept" in living.wait_until("unlinked", "misconfigured").hint
            household.write_settings(good)
            living.send(signal.SIGHUP)
            living.wait_until("unlinked")
        household.link(living)
        assert living.end() == 0


def test_a_speaker_without_a_provider_stays_up_and_a_press_tells_it(household: Household) -> None:
    with household.living(provider=[]) as living:
        living.wait_until("unlinked", "misconfigured")
        wait_for(lambda: household.heard)
        before = household.heard
        living.press("tap")

        wait_for(lambda: len(household.heard) > len(before))
        hint = living.wait_until("unlinked", "misconfigured").hint
        assert "client_id is not set; product_id is not set" in hint
        assert "config check" in hint
        done = household.ask("link", "--json")
        assert done.returncode == 78
        assert json.loads(done.stdout.splitlines()[-1])["reason"] == "misconfigured"
        assert living.end() == 0


def test_a_missing_part_is_told_and_the_rest_goes_on(household: Household) -> None:
    household.write_settings(
        hardware='[hardware]\nboard = "simulated"\n[hardware.light]\nkind = "kernel"\nname = "nowhere"\n'
        f'directory = "{household.folder}"\n'
    )
    with household.living() as living:
        living.wait_until("unlinked", "hardware")
        living.press("tap")
        household.approve(living, "hardware")
        living.wait_until("linked", "hardware")
        assert living.client.token().expires_in > 3000
        assert living.end() == 0


def test_a_log_in_json_holds_nothing_else_when_a_part_is_missing(household: Household) -> None:
    household.write_settings(
        hardware='[hardware.light]\nkind = "kernel"\nname = "nowhere"\n'
        f'directory = "{household.folder}"\n[hardware.voice]\nkind = "simulated"\n'
    )
    with household.living("--log-format", "json", "--locale", "fi-FI") as living:
        living.wait_until("unlinked", "hardware")
        living.press("knock")
        assert living.end() == 0

    entries = [json.loads(line)["message"] for line in living.told.splitlines()]
    assert any(entry.startswith("the light does not work") for entry in entries)
    assert "the voice does not speak fi-FI; it speaks en" in entries


def test_a_wrong_setting_of_a_part_is_told_and_the_link_is_kept(household: Household) -> None:
    with household.living() as living:
        household.link(living)
        assert living.end() == 0
    household.write_settings(hardware='[hardware.panel]\nkind = "ssd1306"\nhieght = 32\n')
    with household.living() as living:
        hint = living.wait_until("linked", "misconfigured").hint
        assert living.client.token().expires_in > 3000
        assert living.end() == 0

    assert "'height'" in hint


def test_a_wrong_setting_of_the_page_is_told_and_the_link_is_kept(household: Household) -> None:
    with household.living() as living:
        household.link(living)
        assert living.end() == 0
    household.write_settings(page="[page]\nlisten = 8080\n")
    with household.living() as living:
        hint = living.wait_until("linked", "misconfigured").hint
        assert living.client.token().expires_in > 3000
        assert living.end() == 0

    assert "Then restart the service." in hint


def test_a_speaker_that_cannot_tell_a_code_says_so_at_a_press(household: Household) -> None:
    household.write_settings('page = "off"\n', page="", hardware='[hardware]\nboard = "simulated"\n')
    with household.living() as living:
        living.wait_until("unlinked")
        living.press("tap")
        living.wait_until("unlinked", "misconfigured")
    assert household.running.amazon.pairs() == ()


def test_a_line_that_is_no_press_is_logged(living: Living) -> None:
    living.wait_until("unlinked")
    living.press("knock")

    living.wait_until_told("'knock' is not a press")


# -- without a network


def test_a_provider_that_is_away_at_the_start_is_told_and_waited_for(household: Household) -> None:
    with household.living() as living:
        household.link(living)
        assert living.end() == 0
    port = int(household.running.origin.rpartition(":")[2])
    household.running.stop()
    with household.living() as living:
        living.wait_until("linked", "provider-unavailable")
        assert curl(living.path, "/v1/token")[0] == 503
        back = serve(household.running.amazon, port=port)
        try:
            living.wait_until("linked")
            assert living.client.token().expires_in > 3000
            assert living.end() == 0
        finally:
            back.stop()


def test_a_press_without_a_network_is_answered_at_once_and_remembered(household: Household) -> None:
    port = free_port()
    provider = [*household.command.provider[:-1], f"http://127.0.0.1:{port}/auth/O2/"]
    with household.living(provider=provider) as living:
        living.wait_until("unlinked")
        living.press("tap")
        living.wait_until("requesting", "provider-unavailable")
        back = serve(household.running.amazon, port=port)
        try:
            household.approve(living)
            living.wait_until("linked")
            assert living.end() == 0
        finally:
            back.stop()


def test_a_request_that_hangs_keeps_nobody_waiting(household: Household, living: Living) -> None:
    household.running.amazon.script(Endpoint.CODE_PAIR, [Fault(hang=True)])
    living.press("tap")
    living.wait_until("requesting")
    living.client.cancel()
    living.wait_until("unlinked")
    assert living.end() == 0

    def end() -> float:
        household.running.amazon.script(Endpoint.CODE_PAIR, [Fault(hang=True)])
        with household.living() as again:
            again.press("tap")
            again.wait_until("requesting")
            begun = time.monotonic()
            assert again.end() == 0
            return time.monotonic() - begun

    assert is_once_within(READ_TIMEOUT / 2, end)


FAKETIME: Final = "*-linux-gnu/faketime/libfaketimeMT.so.1"


def test_a_clock_that_is_set_is_followed_at_once(
    household: Household, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = next(Path("/usr/lib").glob(FAKETIME), None)
    if found is None:
        pytest.skip("faketime is not installed")
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    faked = {
        "LD_PRELOAD": str(found),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    for name, value in faked.items():
        monkeypatch.setenv(name, value)

    def end_in_file() -> datetime:
        return datetime.fromisoformat(json.loads((household.run / "token.json").read_text())["expires_at"])

    def is_near(offset: timedelta) -> bool:
        return abs(end_in_file() - datetime.now(UTC) - offset) < timedelta(hours=12)

    with household.living() as living:
        household.link(living)
        took = []
        for days in (365, -365, 1, 365, 0):
            began = time.monotonic()
            offset.write_text(f"{days:+}d\n")
            step_clock()
            wait_for(partial(is_near, timedelta(days=days)))
            took.append(time.monotonic() - began)
        # set right after the file is
        wait_for(lambda: abs(living.wait_until("linked").since - datetime.now(UTC)) < timedelta(hours=12))

    # the loop looks once a minute by itself
    assert sorted(took)[len(took) // 2] < 10
