import ipaddress
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests

from device_auth.core.errors import ConfigError
from device_auth.core.models import Secret
from device_auth.simulator import authority
from device_auth.simulator.models import Options
from device_auth.simulator.referee import RuleName
from device_auth.simulator.runs import RunsServer, SimulatedRun
from tests.simulated_speaker import Clock, Speaker
from tests.waiting import LONG

if TYPE_CHECKING:
    from device_auth.simulator.server import Running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunsServer]:
    with RunsServer("127.0.0.1", 0, tmp_path, Clock()) as server:
        yield server


def speaker_of(server: RunsServer, run: SimulatedRun) -> Speaker:
    """Return a speaker that knows the address of one run."""
    origin = run.base_url.removesuffix("/auth/O2/")
    addresses = SimpleNamespace(
        origin=origin,
        issuer=origin,
        base_url=run.base_url,
        control=f"{origin}/control/",
        ca_file=server.ca_file,
    )
    return Speaker(cast("Running", addresses))


def linked(speaker: Speaker, run: SimulatedRun) -> dict[str, Any]:
    pair = speaker.pair()
    assert run.amazon.approve(pair["user_code"]) == 1
    tokens: dict[str, Any] = speaker.poll(pair).json()
    return tokens


def refresh(speaker: Speaker, token: str) -> requests.Response:
    return speaker.session.post(
        speaker.token_url,
        data={"grant_type": "refresh_token", "refresh_token": token, "client_id": speaker.client_id},
        verify=speaker.verify,
        timeout=LONG,
    )


def test_a_token_of_one_run_is_worth_nothing_in_another(server: RunsServer) -> None:
    with server.run(Options(interval=1)) as first, server.run(Options(interval=1)) as second:
        here, there = speaker_of(server, first), speaker_of(server, second)
        tokens = linked(here, first)

        assert Secret(tokens["access_token"]) in first.issued
        assert Secret(tokens["refresh_token"]) in first.issued
        assert second.issued == []
        assert refresh(here, tokens["refresh_token"]).status_code == 200
        assert refresh(there, tokens["refresh_token"]).json()["error"] == "invalid_grant"
        assert second.amazon.referee.counts()[RuleName.UNKNOWN_REFRESH_TOKEN] == 1
        assert first.amazon.referee.complaints() == second.amazon.referee.complaints() == ()
        for speaker in (here, there):
            speaker.close()


def test_the_owner_of_one_run_cannot_approve_the_code_of_another(server: RunsServer) -> None:
    with server.run(Options(interval=1)) as first, server.run(Options(interval=1)) as second:
        speaker = speaker_of(server, first)
        pair = speaker.pair()

        assert second.amazon.approve(pair["user_code"]) == 0
        assert speaker.poll(pair).json()["error"] == "authorization_pending"
        speaker.close()


def test_pages_of_a_run_stand_below_its_path(server: RunsServer) -> None:
    with server.run(Options(interval=1)) as run:
        speaker = speaker_of(server, run)
        uri = speaker.pair()["verification_uri"]
        page = speaker.session.get(uri, timeout=LONG, verify=speaker.verify)
        speaker.close()

    assert uri == run.base_url.replace("/auth/O2/", "/us/code")
    assert page.status_code == 200
    assert f'href="{uri.removeprefix(server.origin).removesuffix("/us/code")}/static/' in page.text


def test_after_a_run_its_path_is_unknown(server: RunsServer) -> None:
    with server.run(Options(interval=1)) as run:
        speaker = speaker_of(server, run)
        token = linked(speaker, run)["refresh_token"]

    assert refresh(speaker, token).status_code == 404
    speaker.close()


@pytest.mark.parametrize("path", ["", "/", "/run", "/run/", "/run/x/control/", "/control/state"])
def test_there_is_nothing_beside_the_runs(server: RunsServer, path: str) -> None:
    with server.run(Options()):
        answer = requests.get(f"{server.origin}{path}", timeout=LONG, verify=str(server.ca_file))

    assert answer.status_code == 404


@pytest.mark.parametrize("host", ["*", "::", "rig.example", "224.0.0.1", "203.0.113.9"])
def test_it_listens_on_one_address_of_this_machine(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match=r"one address|cannot listen"):
        RunsServer(host, 0, tmp_path, Clock())


def test_a_port_that_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1 port 65536"):
        RunsServer("127.0.0.1", 65536, tmp_path, Clock())


def test_the_certificate_of_a_station_holds_for_its_address_and_no_other(tmp_path: Path) -> None:
    context, ca_file = authority.server_context(tmp_path, address=ipaddress.ip_address("192.168.7.1"))
    assert shake_hands(context, ca_file, "192.168.7.1") == ""
    assert "mismatch" in shake_hands(context, ca_file, "192.168.7.2")


def shake_hands(served: ssl.SSLContext, ca_file: Path, name: str) -> str:
    """Return why a strict client turns away; nothing if it does not."""
    trusting = ssl.create_default_context(cafile=str(ca_file))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = served.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return str(error)
    return ""


def test_the_state_of_a_run_is_its_own(server: RunsServer) -> None:
    with server.run(Options(interval=1)) as first, server.run(Options(interval=1)) as second:
        speaker = speaker_of(server, first)
        speaker.pair()
        states = [
            json.loads(
                speaker.session.get(
                    run.base_url.replace("/auth/O2/", "/control/state"), timeout=LONG, verify=speaker.verify
                ).text
            )
            for run in (first, second)
        ]
        speaker.close()

    assert [len(state["pairs"]) for state in states] == [1, 0]
