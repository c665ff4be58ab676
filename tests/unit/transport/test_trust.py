"""TLS: who is trusted, and what a wrong date means."""

import ssl
import warnings
from pathlib import Path

import pytest
import requests_mock
import urllib3

from device_auth.core.models import Seconds, Unreachable, WireResponse
from device_auth.core.states import Trouble
from device_auth.world.route import BUNDLES, CERT_FILE, CERT_FOLDERS, Authorities
from device_auth.world.transport import HttpTransport
from tests.certificates import FAR_AHEAD, LONG_AGO, NOW, Authority
from tests.scripted_server import Peer, ScriptedServer, answers
from tests.transports import SECURE_URL, SimulatedClock, open_transport, post, secure_server
from tests.waiting import given_time


def test_a_trusted_server_is_spoken_with(authority: Authority) -> None:
    context = authority.server_context("127.0.0.1")
    with (
        secure_server(context, answers([b"1", b"2"])) as server,
        open_transport(ca_file=authority.ca_file) as transport,
    ):
        first = transport.send(post(server.url))
        second = transport.send(post(server.url))

    assert isinstance(first, WireResponse)
    assert isinstance(second, WireResponse)
    assert server.connections == 1


def failure_with(
    context: ssl.SSLContext, authority: Authority, clock: SimulatedClock | None = None
) -> Unreachable:
    with (
        secure_server(context, answers()) as server,
        open_transport(clock, ca_file=authority.ca_file) as transport,
    ):
        answer = transport.send(post(server.url))
    assert isinstance(answer, Unreachable)
    assert server.requests == []
    return answer


@pytest.mark.parametrize("is_set", [True, False])
def test_a_certificate_that_is_not_yet_valid_means_the_clock_is_not_set(
    authority: Authority, is_set: bool
) -> None:
    context = authority.server_context("127.0.0.1", starts=FAR_AHEAD, ends=FAR_AHEAD + (NOW - LONG_AGO))

    assert failure_with(context, authority, SimulatedClock(is_set=is_set)) == Unreachable(
        Trouble.CLOCK_NOT_SET, "by this clock the certificate is not valid yet"
    )


@pytest.mark.parametrize(
    ("is_set", "expected"),
    [
        (True, Unreachable(Trouble.PROVIDER_UNAVAILABLE, "the certificate has expired")),
        (
            False,
            Unreachable(
                Trouble.CLOCK_NOT_SET, "by this clock, which looks unset, the certificate has expired"
            ),
        ),
    ],
)
def test_an_expired_certificate_means_the_clock_only_while_it_looks_unset(
    authority: Authority, is_set: bool, expected: Unreachable
) -> None:
    context = authority.server_context("127.0.0.1", starts=LONG_AGO, ends=LONG_AGO + (FAR_AHEAD - NOW) / 2)

    assert failure_with(context, authority, SimulatedClock(is_set=is_set)) == expected


def test_a_certificate_for_another_name_is_not_trusted(authority: Authority) -> None:
    answer = failure_with(authority.server_context("amazon.test", "127.0.0.2"), authority)

    assert answer.trouble is Trouble.PROVIDER_UNAVAILABLE
    assert answer.what.startswith("the certificate cannot be trusted")


def test_a_certificate_of_an_unknown_authority_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "A stranger")
    answer = failure_with(stranger.server_context("127.0.0.1"), authority)

    assert answer.trouble is Trouble.PROVIDER_UNAVAILABLE
    assert answer.what.startswith("the certificate cannot be trusted")


def test_an_older_tls_is_not_spoken(authority: Authority) -> None:
    context = authority.server_context("127.0.0.1")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    assert failure_with(context, authority) == Unreachable(
        Trouble.PROVIDER_UNAVAILABLE, "no secure connection could be made"
    )


def test_a_server_that_speaks_no_tls_is_told_as_such(transport: HttpTransport) -> None:
    with ScriptedServer(lambda peer: peer.write(b"220 mail.test ESMTP\r\n")) as server:
        answer = transport.send(post(f"https://127.0.0.1:{server.port}/token"))

    assert answer == Unreachable(Trouble.PROVIDER_UNAVAILABLE, "no secure connection could be made")


def test_a_handshake_that_hangs_is_a_time_out() -> None:
    def send(seconds: float) -> WireResponse | Unreachable:
        with (
            ScriptedServer(Peer.hang) as server,
            open_transport(connect_timeout=Seconds(seconds)) as transport,
        ):
            return transport.send(post(f"https://127.0.0.1:{server.port}/token"))

    answer = given_time(send, lambda answer: "no connection was made in time" not in str(answer), 0.1)

    assert answer == Unreachable(
        Trouble.PROVIDER_UNAVAILABLE, "the answer did not come in time", timed_out=True
    )


@pytest.mark.parametrize("name", [*BUNDLES, CERT_FILE])
def test_without_a_ca_file_the_environment_names_the_authorities(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, name: str, transport: HttpTransport
) -> None:
    monkeypatch.setenv(name, str(authority.ca_file))
    with secure_server(authority.server_context("127.0.0.1"), answers()) as server:
        assert isinstance(transport.send(post(server.url)), WireResponse)


def test_a_ca_file_wins_over_the_environment(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "A stranger")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(stranger.ca_file))
    with (
        secure_server(stranger.server_context("127.0.0.1"), answers()) as untrusted,
        secure_server(authority.server_context("127.0.0.1"), answers()) as trusted,
        open_transport(ca_file=authority.ca_file) as transport,
    ):
        assert isinstance(transport.send(post(untrusted.url)), Unreachable)
        assert isinstance(transport.send(post(trusted.url)), WireResponse)


def test_without_either_a_private_authority_is_not_trusted(
    authority: Authority, transport: HttpTransport
) -> None:
    with secure_server(authority.server_context("127.0.0.1"), answers()) as server:
        assert isinstance(transport.send(post(server.url)), Unreachable)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_without_certificates_is_named(tmp_path: Path, content: str | None) -> None:
    ca_file = tmp_path / "ours.pem"
    if content:
        ca_file.write_text(content)

    with open_transport(ca_file=ca_file) as transport:
        answer = transport.send(post("https://127.0.0.1:1/"))

    assert isinstance(answer, Unreachable)
    assert answer.trouble is Trouble.MISCONFIGURED
    assert str(ca_file) in answer.what
    assert answer.refusal is not None


@pytest.mark.parametrize("name", [*BUNDLES, CERT_FILE, CERT_FOLDERS])
@pytest.mark.parametrize("content", [None, ""])
def test_authorities_of_a_variable_that_cannot_be_read_are_for_a_person_to_mend(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: str | None
) -> None:
    place = tmp_path / "ours.pem"
    if content is not None and name == CERT_FOLDERS:
        place.mkdir()
    elif content is not None:
        place.write_text(content)
    monkeypatch.setenv(name, str(place))
    answer = transport.send(post("https://127.0.0.1:1/"))

    assert isinstance(answer, Unreachable)
    assert answer.trouble is Trouble.MISCONFIGURED
    assert f"the variable {name}" in answer.what
    assert name in answer.hint


def test_a_variable_that_was_mended_is_taken_at_the_next_request(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: Authority
) -> None:
    bundle = tmp_path / "bundle.pem"
    monkeypatch.setenv(CERT_FILE, str(bundle))
    with secure_server(authority.server_context("127.0.0.1"), answers()) as server:
        before = transport.send(post(server.url))
        bundle.write_bytes(authority.ca_file.read_bytes())

        assert isinstance(before, Unreachable)
        assert isinstance(transport.send(post(server.url)), WireResponse)


def test_a_file_that_holds_other_authorities_now_is_read_again(tmp_path: Path, authority: Authority) -> None:
    stranger, bundle = Authority(tmp_path, "A stranger"), tmp_path / "bundle.pem"
    bundle.write_bytes(stranger.ca_file.read_bytes())
    context = authority.server_context("127.0.0.1")
    with (
        secure_server(stranger.server_context("127.0.0.1"), answers()) as theirs,
        secure_server(context, answers()) as ours,
        open_transport(ca_file=bundle) as transport,
    ):
        assert isinstance(transport.send(post(theirs.url)), WireResponse)
        bundle.write_bytes(authority.ca_file.read_bytes())

        assert isinstance(transport.send(post(ours.url)), WireResponse)


def test_a_file_is_read_once_for_all_requests(authority: Authority) -> None:
    authorities = Authorities(authority.ca_file)

    assert authorities.context() is authorities.context()


def test_urllib3_does_not_warn_of_a_clock_that_is_not_set(
    transport: HttpTransport, amazon: requests_mock.Mocker
) -> None:
    amazon.post(SECURE_URL, text="{}")
    transport.send(post())

    # Warnings are errors in these tests: this one would be raised in the middle of a handshake.
    warnings.warn("System time is way off", urllib3.exceptions.SystemTimeWarning, stacklevel=1)
