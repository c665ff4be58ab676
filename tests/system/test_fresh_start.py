"""After an unlink a fresh process goes on: nothing of the former owner's token is left in memory, and nobody is refused."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Final

import pytest

from device_auth.world.factory_lock import LOCK
from tests.command import ROOT, bare_environment
from tests.daemon_process import HARDWARE, Household, Living
from tests.waiting import LONG, wait_for

ANEW: Final = "a fresh process goes on"


def refresh_token(household: Household) -> bytes:
    envelope = json.loads((household.state / "link.json").read_text())
    token: str = envelope["link"]["refresh_token"]
    return token.encode()


def link_by_socket(household: Household, living: Living) -> None:
    """Link without a press: the process that leaves may still read a line, which presses nothing any more."""
    living.client.link()
    household.approve(living)
    living.wait_until("linked")


def copies_in_memory(pid: int, secret: bytes) -> int:
    """Count the copies of a secret in the memory of a process. Source: proc(5), ``/proc/PID/mem``."""
    found = 0
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:  # noqa: PTH123  no path of a file
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                start, end = (int(number, 16) for number in line.split()[0].split("-"))
                if line.split()[1].startswith("r") and not line.endswith(("[vvar]", "[vsyscall]")):
                    memory.seek(start)
                    try:
                        found += memory.read(end - start).count(secret)
                    except OSError:  # a mapping of a device
                        continue
    except PermissionError:
        pytest.skip("this user may not read the memory of the service, as it should be")
    return found


@pytest.mark.parametrize("how", ["unlink", "hold 10.2"])
def test_no_byte_of_the_token_is_left_in_memory_and_a_reset_by_hand_opens_the_factorys_lock(
    household: Household, living: Living, how: str
) -> None:
    household.link(living)
    token, pid = refresh_token(household), living.process.pid
    assert copies_in_memory(pid, token) > 0
    (household.state / LOCK).write_text("of the factory")

    if how == "unlink":
        living.client.unlink()
    else:
        living.press(how)
        wait_for(lambda: "press" in household.heard.rpartition("linked to your account")[2])
        living.press("tap")
    living.wait_until_told(ANEW)
    living.wait_until("unlinked")

    assert copies_in_memory(pid, token) == 0
    assert token not in Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    assert (household.state / LOCK).read_text() == "of the factory"
    lock = next(
        found
        for line in household.ask("factory", "status").stdout.splitlines()
        if (found := json.loads(line))["event"] == "status"
    )
    assert lock["locked"] == (how == "unlink")
    assert (lock["opened_for"] is None) == (how == "unlink")
    link_by_socket(household, living)
    assert living.end() == 0
    assert not living.path.exists()


def status_over(family: socket.AddressFamily, address: str | tuple[str, int], host: str) -> bytes:
    """Make a connection of its own and ask for the state or the page; return the first line of the reply."""
    with socket.socket(family) as client:
        client.settimeout(LONG)
        client.connect(address)
        target = "/v1/status" if family is socket.AF_UNIX else "/"
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        with client.makefile("rb") as reply:
            return reply.read().partition(b"\r\n")[0]


def test_nobody_is_refused_in_the_gap_and_the_process_is_the_same(
    household: Household, living: Living
) -> None:
    household.link(living)
    pid, port = living.process.pid, household.page_port
    replies: set[bytes] = set()
    over = Event()

    def ask(family: socket.AddressFamily, address: str | tuple[str, int], host: str) -> None:
        while not over.is_set():
            try:
                replies.add(status_over(family, address, host))
            except OSError as error:
                replies.add(str(error).encode())
            over.wait(0.05)  # the page has a limit on how often one visitor comes

    askers = [
        Thread(target=ask, args=(socket.AF_UNIX, str(living.path), "localhost")),
        Thread(target=ask, args=(socket.AF_INET, ("127.0.0.1", port), f"127.0.0.1:{port}")),
    ]
    for asker in askers:
        asker.start()
    try:
        events = living.client.events()
        assert next(events).state == "linked"
        living.client.unlink()
        living.wait_until_told(ANEW)
        living.wait_until("unlinked")
        while next(events).state != "unlinked":
            pass
        events.close()
        link_by_socket(household, living)
    finally:
        over.set()
        for asker in askers:
            asker.join()

    assert replies - {b"HTTP/1.1 429 Too Many Requests"} == {b"HTTP/1.1 200 OK"}
    assert living.process.pid == pid
    assert living.process.poll() is None


def test_those_who_ask_in_the_gap_are_answered_when_the_fresh_process_knows_its_link(
    household: Household, living: Living
) -> None:
    household.link(living)
    living.client.unlink()
    living.wait_until("unlinked")
    link_by_socket(household, living)
    # "starting", it was for a moment: a command that came then was told that there is no link
    states: set[str] = set()

    def has_gone_on() -> bool:
        states.add(living.client.status().state)
        return ANEW in living.told

    wait_for(has_gone_on)
    for _ in range(20):
        states.add(living.client.status().state)

    assert states == {"linked"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_gap_is_heard(household: Household, living: Living, number: signal.Signals) -> None:
    household.link(living)
    living.client.unlink()
    living.wait_until_told(ANEW)
    living.send(number)

    if number is signal.SIGHUP:
        living.wait_until("unlinked")
        link_by_socket(household, living)
        assert living.end() == 0
    else:
        # another thread of the old process may take it, which ends it at once; systemd.service(5) counts both as clean
        assert living.process.wait(LONG) in {0, -number}


def test_while_someone_links_or_is_told_something_nothing_is_cut_short(household: Household) -> None:
    speaking = household.folder / "speaking"
    voice = f"cat >> {household.spoken}; while test -e {speaking}; do sleep 0.1; done"
    household.write_settings(hardware=HARDWARE.format(voice=json.dumps(["sh", "-c", voice])))
    with household.living() as living:
        household.link(living)
        # until the code is there, which may take longer than a fresh process waits
        speaking.touch()
        living.client.unlink()
        living.wait_until("unlinked")
        living.press("tap")
        code = living.user_code()
        speaking.unlink()
        Event().wait(3)  # longer than that

        assert living.user_code() == code
        assert ANEW not in living.told
        household.approve(living)
        living.wait_until("linked")
        living.wait_until_told(ANEW)
        living.wait_until("linked")
        assert living.client.token().access_token == (household.run / "access-token").read_text()
        assert living.end() == 0


RUN: Final = "import sys; {before}; from device_auth.cli.main import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def living_by(
    household: Household, before: str, *, shell: str = "", pass_fds: Sequence[int] = ()
) -> Iterator[Living]:
    """Run the service by a program of the test's.

    Args:
        household: whose.
        before: what the program does first.
        shell: what the shell does that starts it.
        pass_fds: descriptors for the shell.
    """
    words = ["run", *household.command.provider, *household.command.places, "--config", str(household.config)]
    program = [sys.executable, "-c", RUN.format(before=before), *words]
    said = household.folder / "said"
    with (
        said.open("w") as file,
        subprocess.Popen(
            ["bash", "-c", f'{shell} exec "$@"', "bash", *program],
            cwd=ROOT,
            env=bare_environment(),
            stdin=subprocess.DEVNULL,
            stderr=file,
            pass_fds=pass_fds,
            text=True,
        ) as process,
    ):
        living = Living(process, household.run / "api.sock", said)
        try:
            wait_for(lambda: living.status() or process.poll() is not None, "it does not answer")
            yield living
        finally:
            living.client.close()
            process.kill()


def test_where_no_fresh_process_can_be_had_the_service_goes_on(household: Household) -> None:
    with living_by(household, "sys.executable = '/nowhere'") as living:
        link_by_socket(household, living)
        living.client.unlink()
        living.wait_until_told("cannot start anew")
        living.wait_until("unlinked")
        link_by_socket(household, living)

        assert living.end() == 0
    assert not living.path.exists()


def test_the_sockets_of_the_service_manager_are_kept(household: Household) -> None:
    household.run.mkdir()
    with socket.socket(socket.AF_UNIX) as api, socket.socket() as page:
        api.bind(str(household.run / "api.sock"))
        page.bind(("127.0.0.1", 0))
        for listener in (api, page):
            listener.listen()
        host, port = page.getsockname()
        given = (api.fileno(), page.fileno())
        shell = "exec 3<&{} 4<&{}; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=api:page;".format(*given)
        with living_by(household, "pass", shell=shell, pass_fds=given) as living:
            link_by_socket(household, living)
            living.client.unlink()
            living.wait_until_told(ANEW)
            living.wait_until("unlinked")
            assert status_over(socket.AF_INET, (host, port), f"{host}:{port}") == b"HTTP/1.1 200 OK"
            if os.geteuid() == 0:  # to others the environment of the service is closed
                assert b"LISTEN_FDS" not in Path(f"/proc/{living.process.pid}/environ").read_bytes()

            assert living.end() == 0
    assert living.path.exists()
