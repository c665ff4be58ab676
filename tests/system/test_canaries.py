"""No secret is seen in anything that a whole process says, writes, is started with or starts others with."""

import json
import re
import shutil
import signal
import sys
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, parse_qsl, quote, urlencode, urlsplit

import pytest
import requests
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from device_auth.assembly.doors import open_doors
from device_auth.cli.doctor import examine_speaker
from device_auth.cli.main import main, read_arguments
from device_auth.core.models import DialectName
from device_auth.service.journal import OURS
from device_auth.simulator.amazon import Amazon
from device_auth.simulator.faults import NO_FAULT, Endpoint, Fault
from device_auth.simulator.models import (
    Applicant,
    AuthorizationRequest,
    CodeExchange,
    IssuedPair,
    OAuthRefusal,
    Options,
    RegisteredClient,
    Tokens,
)
from device_auth.simulator.server import Running, serve
from device_auth.world.certificate import CERTIFICATE
from device_auth.world.store import FileStore
from tests.canaries import Bench, Canaries, Ran, Sight, Started
from tests.ports import free_port
from tests.scripted_server import ScriptedServer, answers
from tests.simulated_speaker import strict
from tests.waiting import LONG, wait_for
from tests.world import CLIENT_ID

SECRET: Final = "CanarySecret|of 24 bytes"
"""Short enough to pass for a word that a provider says."""

IMPORTED: Final = "Atzr|CanaryImported"
PASTED: Final = "CanaryCode1234567890"
"""As short as a code of Login with Amazon may be. Source: LWA "Authorization Code Grant" (18 to 128 characters)."""

MATERIAL: Final = "CanaryMaterial, thirty-two bytes or more of it"
PROXY: Final = "CanaryProxyPassword"

MINE: Final = {"state"}
"""What ``authorize`` tells its user and the browser: it stands in the address."""


class Witness(Amazon):
    """A simulated Amazon that tells which secrets went by, and may throw them back at who sent them.

    Attributes:
        echoes: the error with which it refuses every exchange and refresh, repeating all that was asked.
    """

    def __init__(self, options: Options, canaries: Canaries) -> None:
        super().__init__(options, clock=time.monotonic)
        self.echoes = ""
        self._canaries = canaries

    def issue_code_pair(self, applicant: Applicant, fault: Fault = NO_FAULT) -> IssuedPair | OAuthRefusal:
        given = super().issue_code_pair(applicant, fault)
        if isinstance(given, IssuedPair):
            self._canaries.learn("device code", given.device_code)
        return given

    def poll(
        self,
        dialect: DialectName,
        device_code: str,
        *,
        user_code: str = "",
        client_id: str = "",
        is_due: bool = True,
        fault: Fault = NO_FAULT,
    ) -> Tokens | OAuthRefusal:
        given = super().poll(
            dialect, device_code, user_code=user_code, client_id=client_id, is_due=is_due, fault=fault
        )
        return self._answer(given, device_code)

    def allow(self, request: AuthorizationRequest) -> str:
        address = super().allow(request)
        answer = parse_qs(urlsplit(address).query)
        self._canaries.learn("authorization code", answer["code"][0])
        self._canaries.learn("state", answer["state"][0])
        return address

    def exchange(self, asked: CodeExchange, fault: Fault = NO_FAULT) -> Tokens | OAuthRefusal:
        self._canaries.learn("authorization code", asked.code)
        self._canaries.learn("verifier", asked.verifier)
        given = super().exchange(asked, fault)
        return self._answer(given, asked.code, asked.verifier, asked.credentials.client_secret)

    def refresh(
        self,
        dialect: DialectName,
        refresh_token: str,
        client_id: str,
        fault: Fault = NO_FAULT,
        *,
        client_secret: str | None = None,
    ) -> Tokens | OAuthRefusal:
        self._canaries.learn("refresh token", refresh_token)
        given = super().refresh(dialect, refresh_token, client_id, fault, client_secret=client_secret)
        return self._answer(given, refresh_token, client_secret)

    def _answer(self, given: Tokens | OAuthRefusal, *asked: str | None) -> Tokens | OAuthRefusal:
        if isinstance(given, Tokens):
            self._canaries.learn("access token", given.access_token)
            self._canaries.learn("refresh token", given.refresh_token)
        if not self.echoes:
            return given
        said = [each for each in asked if each]
        repeated = ", ".join([*said, *(f"({each})" for each in said), *(quote(each) for each in said)])
        return OAuthRefusal(self.echoes, f"Bad: {repeated}.")


class AmazonBench:
    """A bench, and the simulated Amazon that its processes speak with."""

    def __init__(self, bench: Bench, running: Running, amazon: Witness) -> None:
        self.bench = bench
        self.running = running
        self.amazon = amazon
        self.port = free_port()

    @property
    def provider(self) -> list[str]:
        return [
            *("--client-id", CLIENT_ID, "--product-id", "kitchen", "--dsn", "K-0001"),
            *("--base-url", self.running.base_url),
            *self.bench.places,
        ]

    @property
    def by_browser(self) -> list[str]:
        return [
            *self.provider,
            *("--authorization-endpoint", self.running.authorization_url),
            *("--redirect-uri", f"https://localhost:{self.port}/authresponse"),
        ]

    def browse(self, started: Started, answer: Callable[[dict[str, str]], str]) -> None:
        """Go where the command sends its user, and come back with an answer."""
        back = answer(self.asked_by(started))
        certificate = self.bench.speaker / "state" / CERTIFICATE
        self.bench.canaries.learn("listener's key", certificate.read_text().splitlines()[-3])
        with requests.Session() as session:
            session.trust_env = False
            page = session.get(back, verify=str(certificate), timeout=LONG)
        self.bench.sights.append(Sight("the page", page.content))

    def asked_by(self, started: Started) -> dict[str, str]:
        """Wait until the command says where its user shall go, and read what is asked there."""
        before = f"{self.running.authorization_url}?"
        started.wait_until_told(before)
        wait_for(lambda: "\n" in started.told.partition(before)[2], "the address does not end")
        rest = started.told.partition(before)[2]
        asked = dict(parse_qsl(rest.split()[0].partition('"')[0]))
        self.bench.canaries.learn("state", asked["state"])
        return asked

    def stored_tokens(self) -> list[str]:
        link = FileStore(self.bench.speaker / "state").read()
        return [] if link is None else [link.refresh_token.reveal()]


class Here:
    """Runs the command in this process, where what is seen from outside has been seen already: it costs less."""

    def __init__(
        self,
        bench: Bench,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self._bench = bench
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self._caplog = caplog
        self.set(HOME=str(bench.speaker), XDG_CONFIG_HOME=str(bench.speaker))

    def set(self, **environment: str) -> None:
        for name, value in environment.items():
            self._monkeypatch.setenv(name, value)

    def run(self, *words: str, stdin: str = "", prints: Iterable[str] = (), tells: Iterable[str] = ()) -> Ran:
        return self.call(lambda: main(words), words[0], stdin, prints, tells)

    def call(
        self,
        act: Callable[[], int],
        name: str,
        stdin: str = "",
        prints: Iterable[str] = (),
        tells: Iterable[str] = (),
    ) -> Ran:
        """Do something as a command, and keep what it said and logged."""
        typed = self._bench.given / "typed"
        typed.write_text(stdin)
        self._capsys.readouterr()
        with typed.open() as keyboard, self._monkeypatch.context() as patched, self._caplog.at_level(1):
            patched.setattr(sys, "stdin", keyboard)
            try:
                exit_code = act()
            except SystemExit as end:
                exit_code = int(end.code or 0)
        out, err = self._capsys.readouterr()
        ours = [record for record in self._caplog.records if record.name.startswith(OURS)]
        log = "".join(f"{record.getMessage()} {record.exc_text}\n" for record in ours)
        self._bench.sights += [
            Sight(f"{name}: standard output", out.encode(), frozenset({*prints, *tells})),
            Sight(f"{name}: standard error", err.encode(), frozenset(tells)),
            Sight(f"{name}: log", log.encode()),
        ]
        return Ran((name,), exit_code, out, err)


@pytest.fixture
def here(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Here:
    return Here(bench, monkeypatch, capsys, caplog)


@pytest.fixture
def canaries() -> Canaries:
    return Canaries(client_secret=SECRET)


@pytest.fixture
def bench(tmp_path: Path, canaries: Canaries) -> Bench:
    return Bench(tmp_path, canaries)


def open_desk(bench: Bench, **options: object) -> Iterator[AmazonBench]:
    usual = replace(strict(interval=1, approve_after=0), **options)  # type: ignore[arg-type]  # checked by the class
    amazon = Witness(usual, bench.canaries)
    with serve(amazon) as running:
        yield AmazonBench(bench, running, amazon)


@pytest.fixture
def amazon_bench(bench: Bench) -> Iterator[AmazonBench]:
    yield from open_desk(bench)


@pytest.fixture
def desk_with_secret(bench: Bench) -> Iterator[AmazonBench]:
    yield from open_desk(bench, clients={CLIENT_ID: RegisteredClient(secret=SECRET)})


# -- authorize


def test_the_arguments_of_a_browser_hold_nothing_at_all(desk_with_secret: AmazonBench) -> None:
    amazon_bench, bench = desk_with_secret, desk_with_secret.bench
    browser = bench.stand_in("browser", more="")
    display = {"DISPLAY": ":99", "BROWSER": f"{browser} %s"}
    ways: tuple[tuple[list[str], dict[str, str], set[str]], ...] = (
        (["-v", "--client-secret-file", str(bench.give("secret", f"{SECRET}\n"))], {}, set()),
        (["-v", "--json", "--again"], {"DEVICE_AUTH_CLIENT_SECRET": SECRET}, {"client secret"}),
    )
    for words, environment, holds in ways:
        with bench.started(
            "authorize",
            *amazon_bench.by_browser,
            *words,
            environment={**display, **environment},
            holds=holds,
            tells=MINE,
        ) as started:
            wait_for(lambda: list(bench.records.glob("*.environment")), "the browser is not opened")
            amazon_bench.browse(started, amazon_bench.amazon.approve_authorization)
        assert started.ran.exit_code == 0, started.ran.err

    opened = [sight for sight in bench.sights if sight.where == "arguments of a program that was started"]
    assert [bench.canaries.found_in(sight.octets) for sight in opened] == [set(), set()]
    assert bench.canaries.names >= {"authorization code", "listener's key", "access token"}
    assert bench.leaks() == []


def test_a_pasted_code_and_its_verifier_are_told_to_the_provider_alone(
    amazon_bench: AmazonBench, here: Here
) -> None:
    bench = amazon_bench.bench
    with bench.started("authorize", *amazon_bench.by_browser, "--paste", "-v", tells=MINE) as started:
        started.type(f"{amazon_bench.amazon.approve_authorization(amazon_bench.asked_by(started))}\n")
    assert started.ran.exit_code == 0, started.ran.err

    amazon_bench.amazon.echoes = "invalid_grant"
    bench.canaries.learn("authorization code", PASTED)
    with bench.started("authorize", *amazon_bench.by_browser, "--paste", "--again", tells=MINE) as started:
        amazon_bench.asked_by(started)
        started.type(f"{PASTED}\n")
    assert started.ran.exit_code == 75, started.ran.err

    stray = f"https://localhost/authresponse?code={PASTED}&state=another"
    words = ["authorize", *amazon_bench.by_browser, "--paste", "--again"]
    assert here.run(*words, stdin=f"{stray}\n", tells=MINE).exit_code == 75
    assert bench.canaries.names >= {"authorization code", "verifier", "refresh token"}
    assert bench.leaks() == []


def test_a_provider_that_repeats_everything_is_not_quoted(desk_with_secret: AmazonBench) -> None:
    amazon_bench, bench = desk_with_secret, desk_with_secret.bench
    credentials = bench.give("credentials/device-auth.client-secret", SECRET).parent
    settings = bench.give("config.toml", f'client_secret = "{SECRET}"\n')
    ways: tuple[tuple[list[str], dict[str, str], str], ...] = (
        (["-v", "--json"], {"CREDENTIALS_DIRECTORY": str(credentials)}, "invalid_client"),
        (["-v", "--config", str(settings)], {}, "invalid_grant"),
    )

    def approve_and_break(asked: dict[str, str]) -> str:
        back = amazon_bench.amazon.approve_authorization(asked)
        page = f"<html><body>{back} client_secret={SECRET}&amp;{quote(SECRET)}</body></html>"
        amazon_bench.amazon.script(Endpoint.EXCHANGE, [Fault(status=400, body=page)])
        return back

    for words, environment, amazon_bench.amazon.echoes in ways:
        with bench.started(
            "authorize", *amazon_bench.by_browser, *words, environment=environment, tells=MINE
        ) as started:
            amazon_bench.browse(started, approve_and_break)
        assert started.ran.exit_code in {75, 78}, started.ran.err
        assert "(it says: " not in started.ran.err
    assert bench.leaks() == []


def test_an_owner_who_declines_and_a_secret_that_lies_open_tell_nothing(
    desk_with_secret: AmazonBench, here: Here
) -> None:
    amazon_bench, bench = desk_with_secret, desk_with_secret.bench
    secret_file = bench.give("secret", f"{SECRET}\n")
    with bench.started(
        "authorize", *amazon_bench.by_browser, "-v", "--client-secret-file", str(secret_file), tells=MINE
    ) as started:
        amazon_bench.browse(started, amazon_bench.amazon.decline_authorization)
    assert started.ran.exit_code == 77, started.ran.err

    secret_file.chmod(0o644)
    words = ["-v", "--client-secret-file", str(secret_file)]
    assert here.run("authorize", *amazon_bench.by_browser, *words).exit_code == 78
    open_settings = bench.give("config.toml", f'client_secret = "{SECRET}"\n', mode=0o640)
    assert here.run("config", "check", "--config", str(open_settings)).exit_code == 78
    broken = bench.give("broken.toml", f"client_secret = {SECRET}\n")
    assert here.run("config", "check", "--config", str(broken)).exit_code == 78
    assert bench.leaks() == []


# -- bad ends


def test_a_kill_in_the_middle_of_an_exchange_tells_nothing(desk_with_secret: AmazonBench) -> None:
    amazon_bench, bench = desk_with_secret, desk_with_secret.bench
    settings = bench.give("config.toml", f'client_secret = "{SECRET}"\n')
    amazon_bench.amazon.script(Endpoint.EXCHANGE, [Fault(hang=True)])
    with bench.started(
        "authorize", *amazon_bench.by_browser, "-v", "--config", str(settings), tells=MINE
    ) as started:
        amazon_bench.browse(started, amazon_bench.amazon.approve_authorization)
        wait_for(lambda: not amazon_bench.amazon.faults_waiting().get(Endpoint.EXCHANGE))
        started.process.send_signal(signal.SIGTERM)
    assert started.ran.exit_code == 130, started.ran.err

    bench.canaries.learn("imported token", IMPORTED)
    with bench.started("link", "--import", "-v", *amazon_bench.provider) as started:
        started.type(IMPORTED)
        locks = f":{(bench.speaker / 'state').stat().st_ino} "
        wait_for(lambda: locks in Path("/proc/locks").read_text(), "it does not take the lock")
        started.process.send_signal(signal.SIGTERM)
    assert started.ran.exit_code == 130, started.ran.err
    assert bench.leaks() == []


def test_a_full_disk_behind_the_output_tells_nothing(desk_with_secret: AmazonBench) -> None:
    amazon_bench, bench = desk_with_secret, desk_with_secret.bench
    secret = {"DEVICE_AUTH_CLIENT_SECRET": SECRET}
    full = Path("/dev/full")

    def run(*words: str) -> Ran:
        return bench.run(*words, environment=secret, out=full, holds={"client secret"}, stdin=f"{IMPORTED}\n")

    bench.canaries.learn("imported token", IMPORTED)
    assert run("authorize", *amazon_bench.by_browser, "--json", "-v").exit_code == 74
    assert run("link", "--import", "--json", "-v", *amazon_bench.provider).exit_code == 74
    assert bench.leaks() == []


BROKEN: Final = """
import sys, threading, types
from device_auth.cli.main import main

def run(args):
    secret = sys.stdin.readline()
    thread = threading.Thread(target=int, args=[secret])
    thread.start()
    thread.join()
    return {}[secret]

verb = types.ModuleType("device_auth.cli.status")
verb.add_arguments, verb.run = lambda parser: None, run
sys.modules[verb.__name__] = verb
sys.exit(main())
"""
"""The command with a verb that breaks in a thread, and then itself, each time over a secret."""


def test_a_bug_is_told_by_its_kind_and_its_place_alone(tmp_path: Path, canaries: Canaries) -> None:
    bench = Bench(tmp_path, canaries, command=(sys.executable, "-c", BROKEN))
    ran = bench.run("status", stdin=f"{SECRET}\n")

    assert ran.exit_code == 70
    assert "a bug in this program: ValueError" in ran.err
    assert re.search(r"a bug in this program: KeyError\n.*\n  <string>:10 in run\n", ran.err)
    assert bench.leaks() == []


# -- a token that came by hand


def test_an_imported_token_goes_into_the_store_alone(amazon_bench: AmazonBench, here: Here) -> None:
    bench = amazon_bench.bench
    assert here.run("link", "--json", *amazon_bench.provider).exit_code == 0
    (token,) = amazon_bench.stored_tokens()
    assert here.run("unlink", *bench.places).exit_code == 0

    sealed = {"DEVICE_AUTH_KEY_FILE": str(bench.give("key", MATERIAL))}
    for name, material in derived_keys().items():
        bench.canaries.learn(name, material)
    ran = bench.run("link", "--import", "-v", *amazon_bench.provider, stdin=f"{token}\n", environment=sealed)
    assert ran.exit_code == 0, ran.err
    assert not bench.canaries.found_in((bench.speaker / "state" / "link.json").read_bytes())

    bench.canaries.learn("imported token", IMPORTED)
    amazon_bench.amazon.echoes = "invalid_client"
    again = ["link", "--import", "--again", "-v", *amazon_bench.provider]
    assert bench.run(*again, stdin=f"{IMPORTED}\n", environment=sealed).exit_code == 78
    here.set(**sealed)
    assert here.run(*again, stdin=f"{IMPORTED} {IMPORTED}\n").exit_code == 78
    assert bench.leaks() == []


def test_a_secret_that_was_given_as_an_argument_is_not_repeated(bench: Bench, here: Here) -> None:
    bench.canaries.learn("imported token", IMPORTED)
    for words in (
        ["link", "--import", IMPORTED],
        ["link", f"--import={IMPORTED}"],
        ["link", IMPORTED, f"--token={IMPORTED}"],
        ["authorize", "--client-secret", SECRET],
        ["authorize", f"--client-secret={SECRET}"],
        ["authorize", "--timeout", SECRET],
        [IMPORTED],
    ):
        assert here.run(*words, *bench.places).exit_code == 2
    assert bench.leaks() == []


def derived_keys() -> dict[str, bytes]:
    """Return the material of the key file, and what is made of it. Source: docs/encryption.md."""
    sealing = HKDF(SHA256(), 32, b"device-auth", b"device-auth link v2").derive(MATERIAL.encode())
    return {"key material": MATERIAL.encode(), "sealing key": sealing}


def test_a_proxy_is_not_quoted_and_its_password_not_told(bench: Bench, here: Here) -> None:
    bench.canaries.learn("authorization code", PASTED)
    bench.canaries.learn("proxy's password", PROXY)
    body = f"<html>{PROXY} {PASTED}</html>".encode()
    refuse = answers([body] * 9, f"X-Repeats: {PROXY}", status="407 Authenticate")
    provider = ["--client-id", CLIENT_ID, "--product-id", "kitchen", "--dsn", "K-1", *bench.places]
    with ScriptedServer(refuse) as proxy:
        given = {"https_proxy": f"http://owner:{PROXY}@127.0.0.1:{proxy.port}"}
        ran = bench.run(
            *("authorize", "--paste", "--timeout", "20", "-v"),
            *(*provider, "--base-url", "https://192.0.2.1/"),
            stdin=f"{PASTED}\n",
            environment=given,
            holds={"proxy's password"},
        )
        here.set(**given)
        doctor = here.run("doctor", "-v", *provider, "--base-url", "https://192.0.2.1/")
        assert proxy.requests
        here.set(DEVICE_AUTH_PROXY=given["https_proxy"])
        shown = [here.run("config", "show", *words, *bench.places) for words in ((), ("--json",))]
        ours = here.run("doctor", "-v", *provider, "--base-url", "https://192.0.2.1/")
    assert ran.exit_code == 78, ran.err
    assert "proxy" in doctor.out
    assert all("http://***@127.0.0.1" in told.out for told in shown)
    assert "Requests go through a proxy." in ours.out
    assert bench.leaks() == []


# -- a link that is handed on, or looked at


@pytest.fixture
def linked(amazon_bench: AmazonBench, here: Here) -> AmazonBench:
    assert here.run("link", "--json", *amazon_bench.provider).exit_code == 0
    return amazon_bench


def test_an_export_shows_no_token_but_where_it_was_asked_to(linked: AmazonBench, here: Here) -> None:
    bench, client = linked.bench, linked.bench.speaker / "client"
    client.mkdir(mode=0o755)
    config, old = client / "config.json", "Atzr|CanaryOldOne"
    bench.canaries.learn("another's token", old)
    sample = {"productId": "kitchen", "dsn": "K-0001", "locale": "en-US"}
    config.write_text(json.dumps({**sample, "companionApp": {"localPort": 1, "refreshToken": old}}))
    config.chmod(0o600)
    sdk = client / "AlexaClientSDKConfig.json"
    device = {"clientId": CLIENT_ID, "productId": "kitchen", "deviceSerialNumber": "K-0001"}
    databases = {
        name: {"databaseFilePath": f"{client}/{name}.db"} for name in ("lwaAuthorization", "miscDatabase")
    }
    sdk.write_text(json.dumps({"deviceInfo": device, **databases}))

    formats = ("avs-java-sample", config), ("avs-device-sdk", sdk), ("env", client / "env")
    for name, path in formats:
        export = ["export", name, "--to", str(path), *linked.provider]
        for words in (["--dry-run"], ["--dry-run", "--json"], ["--copy", "--json"]):
            assert here.run(*export, *words).exit_code == 0
    words = ["export", "json", "--to", "-", "--copy", *linked.provider]
    printed = here.run(*words, prints={"refresh token"})
    assert bench.canaries.found_in(printed.out.encode()) == {"refresh token"}
    (client / "lwaAuthorization.db").unlink()
    copied = bench.run("export", "avs-device-sdk", "--to", str(sdk), "--copy", "-v", *linked.provider)
    assert copied.exit_code == 0, copied.err
    moved = bench.run("export", "json", "--to", str(client / "link.json"), "-v", *linked.provider)
    assert moved.exit_code == 0, moved.err

    holding = [path for path in sorted(client.iterdir()) if bench.canaries.found_in(path.read_bytes())]
    assert len(holding) >= 5
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
    for path in client.iterdir():
        path.unlink()
    assert bench.leaks() == []


def test_a_doctor_tells_nothing_of_the_link_and_nothing_of_the_unit(linked: AmazonBench) -> None:
    bench = linked.bench
    report = bench.speaker / "report"
    settings = bench.give("config.toml", f'client_secret = "{SECRET}"\ndsn = "CanaryDSN-0001"\n')
    bench.canaries.learn("DSN", "CanaryDSN-0001")
    provider = [word for word in linked.provider if word not in {"--dsn", "K-0001"}]
    words = ["doctor", "-v", "--online", "--report", str(report), *provider, "--config", str(settings)]
    # 74: this folder may lie in memory; 75: the settings' DSN is not that of the link
    assert bench.run(*words).exit_code in {0, 1, 74, 75}

    assert report.stat().st_mode & 0o777 == 0o600
    assert "<dsn-1>" in report.read_text()
    assert bench.leaks() == []


PRIVATE: Final = {
    "network's name": "Canary Nest",
    "network card": "dc:a6:32:ca:4a:77",
    "public address": "93.184.216.34",
    "public IPv6 address": "2a02:8108:ca4a:4a77::1",
    "DSN": "CanaryDSN-0001",
    "serial number": "10000000ca4a4a77",
    "host": "canary-kitchen",
    "access token": "Atza|CanaryAccessInALog",
}


def test_a_doctor_of_a_whole_system_masks_what_its_log_and_its_files_say(bench: Bench, here: Here) -> None:
    for name, value in {**PRIVATE, "passphrase": "CanaryPassphrase"}.items():
        bench.canaries.learn(name, value)
    root, report = bench.speaker, bench.speaker / "report"
    log = "".join(
        f"2026-11-22T12:00:00+0000 canary-kitchen x[1]: {value} ({value})\n" for value in PRIVATE.values()
    )
    programs = {
        "journalctl": f"cat {bench.give('log', log)}\n",
        "systemctl": "echo LoadState=loaded; echo ActiveState=failed; echo User=root\n",
        "ss": f"echo {PRIVATE['network card']}\n",
    }
    for name, more in programs.items():
        bench.stand_in(name, more)
    for name, text in {
        "etc/hostname": "canary-kitchen\n",
        "etc/wpa_supplicant/wlan0.conf": 'network={\n ssid="Canary Nest"\n psk="CanaryPassphrase"\n}\n',
        "etc/resolv.conf": f"nameserver {PRIVATE['public address']}\n",
        "sys/firmware/devicetree/base/serial-number": f"{PRIVATE['serial number']}\0",
        "var/lib/device-auth/link.json": "damaged CanaryLink",
        "run/device-auth/x": "",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    here.set(
        **bench.environment,
        STATE_DIRECTORY=str(root / "var/lib/device-auth"),
        RUNTIME_DIRECTORY=str(root / "run/device-auth"),
        DEVICE_AUTH_CONFIG=str(bench.give("config.toml", f'dsn = "{PRIVATE["DSN"]}"\n')),
        DEVICE_AUTH_CLIENT_SECRET=SECRET,
        DEVICE_AUTH_BASE_URL="http://127.0.0.1:9/",
    )

    for words in (["-v"], ["--json"]):
        speaker = open_doors(vars(read_arguments(["doctor", *words])))
        here.call(lambda speaker=speaker: examine_speaker(speaker, report=report, root=root), "doctor")  # type: ignore[misc]  # mypy cannot infer a default
    bench.sights.append(Sight("the report", report.read_bytes()))
    bench.gather_records()

    started = [sight for sight in bench.sights if sight.where.startswith("environment of a program")]
    assert len(started) >= 2
    assert report.read_text().count("<ssid-1>") >= 2
    shutil.rmtree(root)
    assert bench.leaks() == []


# -- the service


def test_a_service_tells_nothing_from_its_first_code_to_its_wipe(
    amazon_bench: AmazonBench, here: Here
) -> None:
    bench, canaries = amazon_bench.bench, amazon_bench.bench.canaries
    for name, material in derived_keys().items():
        canaries.learn(name, material)
    voice = bench.stand_in("voice")
    parts = f'board = "simulated"\n[hardware.voice]\nkind = "command"\ncommand = ["{voice}"]\n'
    page = f'[page]\nlisten = ["127.0.0.1:{free_port()}"]\n'
    key = f'key_file = "{bench.give("key", MATERIAL)}"\n'
    config = bench.give("config.toml", f"{key}{page}[hardware]\n{parts}")
    secret = {"DEVICE_AUTH_CLIENT_SECRET": SECRET}

    words = [*amazon_bench.provider, "--config", str(config)]
    run = bench.speaker / "run"

    amazon_bench.amazon.echoes = "invalid_client"
    with bench.started(
        *("run", *words, "-v", "--log-format", "json"), environment=secret, holds={"client secret"}
    ) as service:
        wait_for((run / "api.sock").exists)
        service.type("tap\n")
        service.wait_until_told("poll: refused, invalid_client")
        amazon_bench.amazon.echoes = ""
        service.type("tap\n")
        wait_for((run / "token.json").exists, "no token is served")
        token = bench.run("token", *words, "-v", prints={"access token"})
        assert canaries.found_in(token.out.encode()) == {"access token"}
        assert json.loads(bench.run("status", *words, "-v", "--json").out)["state"] == "linked"
        assert here.run("doctor", "--json", *words).out
        assert here.run("export", "json", "--to", str(bench.speaker / "copy"), *words).exit_code == 75
        assert not canaries.found_in((bench.speaker / "state" / "link.json").read_bytes())
        assert (run / "token.json").stat().st_mode & 0o777 == 0o640
        service.process.send_signal(signal.SIGTERM)
    assert service.ran.exit_code == 0, service.ran.err
    assert json.loads(here.run("unlink", "--wipe", "--json", *words).out)["secrets_found"] == 0

    assert canaries.names >= {"device code", "refresh token", "access token"}
    spoken = [sight for sight in bench.sights if sight.where.startswith("environment of a program")]
    assert spoken
    left = [path for path in bench.speaker.rglob("*") if path.is_file()]
    assert not [path for path in left if canaries.found_in(path.read_bytes())]
    assert bench.leaks() == []


# -- the watch itself

LEAKY: Final = """
printf %s "$1" | base64
printf %s "$1" | od -An -v -tx1 -w64 >&2
echo "$1" > "$2/open"
mkdir "$2/state" && echo "$1" > "$2/state/link.json"
LEFT="$1" cat
rm "$2/open"
"""
"""A program that does everything wrong, some of it only for a while."""


def test_the_watch_sees_a_secret_wherever_it_is_left(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Canaries(refresh_token=IMPORTED), command=("sh", "-c", LEAKY))
    passing = {"open (0666)", "environment of a child", "arguments of the process"}
    with bench.started("leaky", IMPORTED, str(bench.speaker)) as started:
        wait_for(lambda: passing <= {where for where, *rest in holding(started, bench.canaries)})

    assert bench.leaks() == [
        "refresh token in leaky: arguments of the process",
        "refresh token in leaky: environment of a child",
        "refresh token in leaky: open (0666)",
        "refresh token in leaky: standard error",
        "refresh token in leaky: standard output",
        "refresh token in leaky: state/link.json (0666)",
        "refresh token in state/link.json (0666)",
    ]


def holding(started: Started, canaries: Canaries) -> list[Sight]:
    """Return what was seen so far that holds a secret."""
    return [sight for sight in set(started.watch.sights) if canaries.found_in(sight.octets)]


@pytest.mark.parametrize(
    "written",
    [
        quote(SECRET),
        json.dumps(f"x {SECRET}"),
        b64encode(f"id:{SECRET}".encode()).decode(),
        urlsafe_b64encode(f"{SECRET}?".encode()).decode(),
        SECRET.encode().hex(),
        urlencode({"client_secret": SECRET}),
        repr({"client_secret": SECRET}),
    ],
)
def test_a_canary_is_known_in_every_form(canaries: Canaries, written: str) -> None:
    assert canaries.found_in(written.encode()) == {"client secret"}
    assert not canaries.found_in(b"CanarySecre")
