"""RFC 8628 against an authorization server that this project did not write: Authlib's, over real sockets."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_auth.cli.main import main
from device_auth.core import linking
from device_auth.core.models import DialectName, Mark, Provider
from device_auth.core.states import Trouble
from device_auth.service.loop import Loop
from tests import authlib_server
from tests.authlib_server import CONFIDENTIAL, NO_DEVICE_FLOW, NO_REFRESH, SECRET, SPEAKER
from tests.waiting import LONG
from tests.world import SkippingClock, is_over, open_loop

RFC8628_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    # releases of Authlib differ in whether they take plain http on loopback for secure
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> Iterator[authlib_server.Provider]:
    with authlib_server.serve(authlib_server.Provider(**getattr(request, "param", {}))) as provider:
        yield provider


def given(**settings: object) -> pytest.MarkDecorator:
    """Return what the server is like."""
    return pytest.mark.parametrize("provider", [settings], indirect=True, ids=[" ".join(settings)])


@dataclass
class Speaker:
    """The command line of one speaker, and what it printed."""

    folder: Path
    provider: authlib_server.Provider
    capture: pytest.CaptureFixture[str]
    said: str = ""

    def run(self, *words: str) -> int:
        places = ("--state-dir", str(self.folder / "state"), "--runtime-dir", str(self.folder / "run"))
        code = main([*words, *places])
        told = self.capture.readouterr()
        self.out, self.said = told.out, told.err
        return code

    def link(self, *words: str, client_id: str = SPEAKER, scope: str = "offline_access music") -> int:
        given = ("--client-id", client_id, "--scope", scope, "--issuer", self.provider.issuer)
        return self.run("link", "--timeout", f"{LONG}", "--dialect", "rfc8628", *given, *words)

    @property
    def stored(self) -> dict[str, str]:
        link: dict[str, str] = json.loads((self.folder / "state" / "link.json").read_text())["link"]
        return link


@pytest.fixture
def speaker(tmp_path: Path, provider: authlib_server.Provider, capsys: pytest.CaptureFixture[str]) -> Speaker:
    return Speaker(tmp_path, provider, capsys)


# -- approve, deny, expire


@given(approved=True)
def test_an_approved_speaker_is_linked_and_proved_and_has_said_nothing_but_what_the_rfc_asks(
    speaker: Speaker,
) -> None:
    assert speaker.link() == 0

    metadata, device, poll, proof = speaker.provider.seen
    assert speaker.out == "linked\n"
    assert metadata.path == "/.well-known/oauth-authorization-server/homes/1"
    assert (device.path, device.form) == (
        "/device",
        {"client_id": SPEAKER, "scope": "offline_access music"},
    )
    assert (poll.path, set(poll.form)) == ("/token", {"grant_type", "device_code", "client_id"})
    assert poll.form["grant_type"] == RFC8628_GRANT
    assert (proof.path, set(proof.form)) == ("/token", {"grant_type", "refresh_token", "client_id"})
    assert not any(one.has_credentials for one in speaker.provider.seen)
    assert {one.status for one in speaker.provider.seen} == {200}


@given(approved=True, is_openid=True)
def test_metadata_are_found_where_openid_connect_has_them_and_the_code_is_told_as_it_came(
    speaker: Speaker,
) -> None:
    began = time.monotonic()
    assert speaker.link("--json") == 0

    took = time.monotonic() - began
    code = json.loads(speaker.out.splitlines()[0])
    assert [one.path for one in speaker.provider.seen][:2] == [
        "/.well-known/oauth-authorization-server/homes/1",
        "/homes/1/.well-known/openid-configuration",
    ]
    assert code["verification_uri"] == f"{speaker.provider.origin}/activate"
    assert code["verification_uri_complete"] == f"{code['verification_uri']}?user_code={code['user_code']}"
    assert (code["interval"], 599 - took <= code["expires_in"] <= 600) == (1, True)


@given(approved=False)
def test_an_owner_who_declines_ends_it_with_77(speaker: Speaker) -> None:
    assert speaker.link("--json") == 77

    assert json.loads(speaker.out.splitlines()[-1])["reason"] == "denied"
    assert speaker.provider.errors == ["access_denied"]


@given(true_lifetime=-1)
def test_a_code_that_the_server_calls_expired_ends_it_with_75(speaker: Speaker) -> None:
    assert speaker.link("--json") == 75

    assert json.loads(speaker.out.splitlines()[-1])["reason"] == "expired"
    assert speaker.provider.errors == ["expired_token"]


# -- a client with a secret


@pytest.mark.parametrize(
    "provider",
    [{"approved": True, "method": method} for method in ("client_secret_post", "client_secret_basic")],
    indirect=True,
)
def test_a_confidential_client_is_linked_refreshed_and_revoked_with_its_secret(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVICE_AUTH_CLIENT_SECRET", SECRET)

    assert speaker.link(client_id=CONFIDENTIAL) == 0
    client = ("--client-id", CONFIDENTIAL)
    assert speaker.run("token", *client, "--min-lifetime", "3600") == 78
    assert f"the client secret is not sent to {speaker.stored['token_endpoint']}" in speaker.said
    named = (*client, "--dialect", "rfc8628", "--issuer", speaker.provider.issuer)
    assert speaker.run("token", *named, "--min-lifetime", "3600") == 0
    assert speaker.run("unlink", *named) == 0

    sent = [one for one in speaker.provider.seen if not one.path.startswith("/.well-known/")]
    is_basic = speaker.provider.method == "client_secret_basic"
    assert [one.path for one in sent] == ["/device", "/token", "/token", "/token", "/revoke"]
    assert {one.status for one in sent} == {200}
    assert {(one.has_credentials, "client_secret" in one.form) for one in sent} == {(is_basic, not is_basic)}


@pytest.mark.parametrize("provider", [{"approved": True, "method": "client_secret_post"}], indirect=True)
def test_a_wrong_secret_is_named_and_the_client_id_is_not(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVICE_AUTH_CLIENT_SECRET", "another-secret")

    assert speaker.link("--json", client_id=CONFIDENTIAL) == 78

    hint = json.loads(speaker.out.splitlines()[-1])["hint"]
    assert "client_secret" in hint
    assert "client_id" not in hint


# -- refresh, rotation, revocation


@given(approved=True)
def test_a_refresh_brings_a_new_access_token_and_keeps_the_refresh_token(speaker: Speaker) -> None:
    speaker.link()
    kept = speaker.stored["refresh_token"]

    assert speaker.run("token", "--min-lifetime", "3600") == 0

    newest = speaker.provider.tokens[-1]
    assert speaker.out == f"{newest.access_token}\n"
    assert speaker.stored["refresh_token"] == kept == newest.refresh_token


@given(approved=True, rotates=True)
def test_each_rotated_refresh_token_is_stored_and_the_next_refresh_sends_it(speaker: Speaker) -> None:
    speaker.link()
    before = speaker.stored["refresh_token"]

    assert speaker.run("token", "--min-lifetime", "3600") == 0
    assert speaker.run("token", "--min-lifetime", "3600") == 0

    sent = [one.form["refresh_token"] for one in speaker.provider.seen if "refresh_token" in one.form]
    given = [token.refresh_token for token in speaker.provider.tokens]
    assert len(set(given)) == 4
    assert sent == given[:3]
    assert before == given[1]
    assert speaker.stored["refresh_token"] == given[3]


@given(approved=True)
def test_an_unlink_revokes_the_refresh_token(speaker: Speaker) -> None:
    speaker.link()
    refresh_token = speaker.stored["refresh_token"]

    assert speaker.run("unlink") == 0

    told = speaker.provider.seen[-1]
    token = speaker.provider.find(refresh_token)
    assert (told.path, told.status) == ("/revoke", 200)
    assert told.form == {
        "token": refresh_token,
        "token_type_hint": "refresh_token",
        "client_id": SPEAKER,
    }
    assert token is not None
    assert token.is_over
    assert "still list" not in speaker.said


# -- what the owner or the maker got wrong


@pytest.mark.parametrize(
    ("client_id", "scope", "error", "setting"),
    [
        ("nobody", "music", "invalid_client", "--client-id"),
        (SPEAKER, "dance", "invalid_scope", "--scope"),
        (NO_DEVICE_FLOW, "music", "unauthorized_client", "--client-id"),
        (NO_REFRESH, "music", None, "--scope"),
    ],
)
@given(approved=True)
def test_a_wrong_setting_ends_it_with_78_and_is_named(
    speaker: Speaker, client_id: str, scope: str, error: str | None, setting: str
) -> None:
    assert speaker.link(client_id=client_id, scope=scope) == 78

    assert speaker.provider.seen[-1].error == error
    assert setting in speaker.said
    assert not (speaker.folder / "state" / "link.json").exists()


def test_metadata_of_another_issuer_are_not_believed(speaker: Speaker) -> None:
    other = speaker.provider.issuer.replace("127.0.0.1", "localhost")

    assert speaker.link("--issuer", other) == 78

    assert [one.path for one in speaker.provider.seen] == ["/.well-known/oauth-authorization-server/homes/1"]
    assert "--issuer" in speaker.said


# -- in skipped time


@pytest.fixture
def clock() -> SkippingClock:
    return SkippingClock()


@pytest.fixture
def loop(tmp_path: Path, provider: authlib_server.Provider, clock: SkippingClock) -> Iterator[Loop]:
    provider.clock = lambda: clock.moment
    about = Provider(DialectName.RFC8628, client_id=SPEAKER, scope="offline_access", issuer=provider.issuer)
    with open_loop(tmp_path, clock, about, lambda _view: None) as loop:
        yield loop


def link(loop: Loop) -> linking.State:
    loop.link(linking.LinkRequested(loop._provider_client.rules))
    loop.run(lambda: is_over(loop))
    return loop.state


@given(interval=5, least_gap=12)
def test_each_slow_down_adds_five_seconds_for_this_poll_and_all_later_ones(
    provider: authlib_server.Provider, clock: SkippingClock, loop: Loop
) -> None:
    clock.plan(50, lambda: setattr(provider, "approved", True))

    assert link(loop) == linking.Linked()

    assert provider.errors == [*["slow_down"] * 2, *["authorization_pending"] * 2, None]
    assert [one.at - 1000 for one in provider.polls] == [5, 15, 30, 45, 60]


@given(interval=7, code_lifetime=60)
def test_a_code_is_polled_at_its_interval_until_it_runs_out_and_never_after(
    provider: authlib_server.Provider, clock: SkippingClock, loop: Loop
) -> None:
    end = link(loop)

    assert isinstance(end, linking.Unlinked)
    assert end.trouble is Trouble.EXPIRED
    assert [one.at - 1000 for one in provider.polls] == [7, 14, 21, 28, 35, 42, 49, 56]
    assert set(provider.errors) == {"authorization_pending"}
    assert clock.moment == 1060


@given(approved=True, rotates=True)
def test_a_link_kept_for_a_day_outlives_every_rotation(
    provider: authlib_server.Provider, clock: SkippingClock, loop: Loop
) -> None:
    link(loop)
    assert loop.stored_link is not None
    loop.keep_linked(loop.stored_link)
    loop.run(lambda: clock.moment > 24 * 3600 and not loop.is_request_out)

    assert isinstance(loop.state, linking.Linked)
    assert loop.stored_link.refresh_token.reveal() == provider.tokens[-1].refresh_token
    assert 24 <= len(provider.tokens) <= 40
    assert {one.status for one in provider.seen} == {200}


@given(approved=True)
def test_a_speaker_that_its_owner_removed_asks_once_more_and_then_keeps_the_grant_marked(
    provider: authlib_server.Provider, loop: Loop
) -> None:
    link(loop)
    assert loop.stored_link is not None
    loop.keep_linked(loop.stored_link)
    provider.revoke_all()
    loop.run(lambda: isinstance(loop.state, linking.Unlinked))

    assert [one.error for one in provider.seen[-2:]] == ["invalid_grant", "invalid_grant"]
    assert provider.seen[-1].at - provider.seen[-2].at >= 10
    assert loop.stored_link.mark is Mark.REVOKED
    assert provider.find(loop.stored_link.refresh_token.reveal()) is not None
