"""A fault of this machine that only a person can mend: a verb ends with what to do, the service says it and goes on."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_auth.simulator.amazon import Amazon
from device_auth.simulator.server import Running, serve
from tests.command import ROOT, bare_environment
from tests.daemon_process import Household
from tests.simulated_speaker import strict
from tests.waiting import LONG
from tests.world import CLIENT_ID

MAIN = "import sys; sys.modules['socks'] = None; from device_auth.cli.main import main; sys.exit(main(sys.argv[1:]))"
"""The command, on a machine without PySocks."""

SPEAKER = ("--client-id", CLIENT_ID, "--product-id", "kitchen", "--dsn", "K-0001")
FAR_AWAY = ("--base-url", "https://amazon.test/auth/O2/")


def run(folder: Path, *words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    places = ["--state-dir", str(folder / "state"), "--runtime-dir", str(folder / "run")]
    return subprocess.run(
        [sys.executable, "-c", MAIN, *words, *places],
        cwd=ROOT,
        env={**bare_environment(), **environ},
        input="Atzr|token\n",
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


FAULTS = [
    ("ALL_PROXY", "socks5h://127.0.0.1:1", "PySocks"),
    ("HTTPS_PROXY", "gopher://127.0.0.1:1", "HTTPS_PROXY"),
    ("https_proxy", "http://", "https_proxy"),
    ("https_proxy", f"http://{'a' * 70}:1", "https_proxy"),
    ("DEVICE_AUTH_PROXY", "http://a..b:1", "DEVICE_AUTH_PROXY"),
    ("SSL_CERT_FILE", "/nowhere/ca.pem", "SSL_CERT_FILE"),
    ("SSL_CERT_DIR", "/nowhere", "SSL_CERT_DIR"),
    ("REQUESTS_CA_BUNDLE", "/dev/null", "REQUESTS_CA_BUNDLE"),
]


@pytest.mark.parametrize(
    ("verb", "name", "value", "said"),
    [*(("link", *fault) for fault in FAULTS), *(("link --import", *fault) for fault in FAULTS[::5])],
)
def test_a_link_ends_at_once_with_what_to_mend(
    tmp_path: Path, verb: str, name: str, value: str, said: str
) -> None:
    ended = run(tmp_path, *verb.split(), "--json", *SPEAKER, *FAR_AWAY, **{name: value})

    assert ended.returncode == 78, ended.stderr
    *_, refused = (json.loads(line) for line in ended.stdout.splitlines())
    assert (refused["event"], refused["reason"]) == ("refused", "misconfigured")
    assert said in refused["hint"] + ended.stderr
    assert "Nothing to do" not in ended.stderr
    assert not (tmp_path / "state" / "link.json").exists()


@pytest.fixture
def amazon(tmp_path: Path) -> Iterator[Running]:
    options = strict(interval=1, approve_after=0)
    with serve(Amazon(options, clock=time.monotonic), tls=tmp_path / "tls") as running:
        yield running


def test_a_token_that_cannot_be_asked_for_leaves_the_link_as_it_was(amazon: Running, tmp_path: Path) -> None:
    good = {"SSL_CERT_FILE": str(amazon.ca_file)}
    assert run(tmp_path, "link", "--json", *SPEAKER, "--base-url", amazon.base_url, **good).returncode == 0
    stored = (tmp_path / "state" / "link.json").read_bytes()
    (tmp_path / "run" / "token.json").unlink()
    without = run(tmp_path, "token", SSL_CERT_FILE="/nowhere/ca.pem")

    assert without.returncode == 78, without.stderr
    assert "SSL_CERT_FILE" in without.stderr
    assert (tmp_path / "state" / "link.json").read_bytes() == stored
    assert run(tmp_path, "token", **good).returncode == 0


@pytest.mark.slow
def test_the_service_goes_on_without_its_ca_file_and_takes_it_when_it_is_there(
    amazon: Running, tmp_path: Path
) -> None:
    household = Household(tmp_path, amazon)
    assert household.command.link("--json") == 0
    assert amazon.ca_file is not None
    away = amazon.ca_file.rename(tmp_path / "away.pem")
    (tmp_path / "run" / "token.json").unlink()

    with household.living() as living:
        told = living.wait_until("linked", "misconfigured")
        away.rename(amazon.ca_file)
        living.wait_until("linked")
        assert living.end() == 0

    assert f"cannot be read: {amazon.ca_file}: no such file" in living.told
    assert "--ca-file" in told.hint


@pytest.mark.parametrize("ca_file", ["ca.pem", "/nowhere/ca.pem"])
def test_the_service_does_not_end_for_a_ca_file_that_cannot_be_read(
    amazon: Running, tmp_path: Path, ca_file: str
) -> None:
    household = Household(tmp_path, amazon)
    household.write_settings(f'ca_file = "{ca_file}"\n')

    with household.living(provider=[*SPEAKER, "--base-url", amazon.base_url]) as living:
        living.wait_until("unlinked", "misconfigured")
        living.press("tap")
        assert "ca_file" in living.wait_until("unlinked", "misconfigured").hint
        assert living.end() == 0
