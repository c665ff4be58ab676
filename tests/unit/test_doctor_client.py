"""What the doctor finds in the settings that say who the speaker is; each test breaks one thing."""

import grp
import os
import shutil
from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName, Secret, WireResponse
from device_auth.doctor.client import ADDRESSES, LinkSecret, checks
from device_auth.doctor.credential_probe import CredentialProbe
from device_auth.doctor.findings import Finding, Verdict, skipped
from device_auth.prompts.wording import PHRASES
from device_auth.world.settings import (
    PROVIDER_OPTIONS,
    Settings,
    SettingsFiles,
    gather_settings,
    read_settings,
)
from tests.certificates import Authority
from tests.simulated_transport import SimulatedTransport
from tests.values import NO_ANSWER, make_provider, make_response
from tests.world import CLIENT_ID

pytestmark = pytest.mark.usefixtures("few_authorities")

NO_SERIAL = Path("/nowhere/serial-number")
LWA = {"client_id": CLIENT_ID, "product_id": "Kitchen", "dsn": "G0001"}
RFC8628 = {"dialect": "rfc8628", "client_id": "speaker", "issuer": "https://accounts.example.org"}
SECRET = "CANARY-secret"


def credential_probe(response: WireResponse, dialect: DialectName = DialectName.LWA) -> CredentialProbe:
    return CredentialProbe(SimulatedTransport([response]), make_provider(dialect))


def refusal(name: str, status: int = 400) -> WireResponse:
    return make_response({"error": name}, status=status)


def look(
    given: Settings | None = None,
    problems: list[ConfigError] | None = None,
    asked: CredentialProbe | None = None,
    serial_number: Path = NO_SERIAL,
    link_secret: LinkSecret | None = None,
) -> dict[str, Finding]:
    given = given or read_settings(LWA, None, {})
    asked = asked or credential_probe(refusal("invalid_grant"))
    return {
        check.code: check.look()
        for check in checks(given, problems or [], asked, link_secret, serial_number=serial_number)
    }


def broken(found: dict[str, Finding]) -> list[str]:
    return [code for code, finding in found.items() if finding.verdict is not Verdict.OK]


@pytest.mark.parametrize("options", [LWA, RFC8628, {**RFC8628, "scope": "openid"}])
def test_good_settings_raise_no_alarm(options: dict[str, object]) -> None:
    assert broken(look(read_settings(options, None, {}))) == []


@pytest.mark.parametrize(
    ("code", "verdict", "options", "sentence"),
    [
        ("C2", Verdict.FAIL, {"client_id": ""}, "client_id is not set."),
        ("C2", Verdict.FAIL, {"client_id": CLIENT_ID[:-32] + "0" * 32}, "is a placeholder"),
        ("C2", Verdict.FAIL, {"client_id": "two words"}, "has spaces"),
        ("C2", Verdict.WARN, {"client_id": "mine"}, "does not look like one of Login with Amazon"),
        ("C3", Verdict.FAIL, {"product_id": ""}, "product_id is not set."),
        ("C3", Verdict.FAIL, {"product_id": "EXAMPLE_SPEAKER"}, "is a placeholder"),
        ("C3", Verdict.WARN, {"product_id": "my-speaker"}, "characters other than"),
        ("C4", Verdict.FAIL, {"dsn": ""}, "this machine has no serial number of its own"),
        ("C4", Verdict.FAIL, {"dsn": "EXAMPLE_0001"}, "is a placeholder"),
        ("C4", Verdict.FAIL, {"dsn": "0000000000000000"}, "is a placeholder"),
        ("C5", Verdict.WARN, {"scope": "profile"}, "does not ask for alexa:all"),
        ("C5", Verdict.FAIL, {"scope": "a  b"}, "names separated by one space"),
        ("C5", Verdict.FAIL, {"locale": "?"}, "a language and a country"),
        ("C6", Verdict.FAIL, {"base_url": "http://api.amazon.com/"}, "must begin with https"),
        ("C6", Verdict.FAIL, {"issuer": "https://x.test"}, "does not belong to the dialect lwa"),
        ("C7", Verdict.FAIL, {"ca_file": "/nowhere/ca.pem"}, "cannot be read"),
    ],
)
def test_a_setting_that_is_wrong_is_found_under_its_own_code(
    code: str, verdict: Verdict, options: dict[str, str], sentence: str
) -> None:
    found = look(
        read_settings({name: value for name, value in {**LWA, **options}.items() if value}, None, {})
    )

    assert broken(found) == [code]
    assert found[code].verdict is verdict
    assert sentence in found[code].sentence
    assert found[code].next_step
    assert found[code].exit_code == (78 if verdict is Verdict.FAIL else 0)


def test_words_that_are_not_installed_are_named_with_the_package_that_has_them(tmp_path: Path) -> None:
    shutil.copy(str(PHRASES / "en.toml"), tmp_path)

    def scope(locale: str) -> Finding:
        given = read_settings({**LWA, "locale": locale}, None, {})
        return next(each for each in checks(given, [], None, phrases=tmp_path) if each.code == "C5").look()

    assert scope("ja-JP").verdict is Verdict.WARN
    assert "ja-JP are not installed: the speaker speaks English." in scope("ja-JP").sentence
    assert "sudo apt install ./device-auth-l10n_" in scope("ja-JP").next_step
    assert scope("sv-SE").verdict is Verdict.OK
    assert "no words for the locale sv-SE: it speaks English" in scope("sv-SE").sentence
    assert "locale" not in scope("en-US").sentence


def test_a_provider_without_an_address_is_found() -> None:
    found = look(read_settings({"dialect": "rfc8628", "client_id": "speaker"}, None, {}))

    assert broken(found) == ["C6"]
    assert "issuer is not set" in found["C6"].sentence


def test_no_setting_that_says_whom_to_speak_with_goes_unjudged() -> None:
    judged = {"client_id", "product_id", "dsn", "scope", "locale", "ca_file", *ADDRESSES}

    assert judged == set(PROVIDER_OPTIONS)


def test_every_problem_of_reading_is_told() -> None:
    given, problems = gather_settings(
        LWA, None, {"DEVICE_AUTH_CLIENT": "x", "DEVICE_AUTH_RENEWALS": "-1", "DEVICE_AUTH_DIALECT": "y"}
    )
    found = look(given, problems)

    assert broken(found) == ["C1"]
    assert found["C1"].exit_code == 78
    assert "unknown setting 'DEVICE_AUTH_CLIENT'" in found["C1"].sentence
    assert [name for name, _ in found["C1"].facts] == ["also_1", "also_2"]
    assert "must be lwa or rfc8628" in found["C1"].facts[0][1]


def test_ids_that_the_unit_may_have_of_its_own_are_not_judged_by_a_user_who_cannot_see_them() -> None:
    hidden = skipped("Permission denied; root may look.", "sudo device-auth doctor")
    found = {each.code: each.look() for each in checks(read_settings(LWA, None, {}), [], None, hidden=hidden)}

    assert {code for code, each in found.items() if each == hidden} == {"C1", "C2", "C3", "C4"}


def test_what_may_stand_where_the_settings_could_not_be_read_is_not_said_to_be_missing() -> None:
    problem = ConfigError("cannot read config.toml: permission denied", hint="Run this as its owner.")
    found = look(read_settings({"product_id": "EXAMPLE_SPEAKER"}, None, {}), [problem])

    verdicts = {code: found[code].verdict for code in ("C1", "C2", "C3", "C4")}
    assert verdicts == {"C1": Verdict.FAIL, "C2": Verdict.SKIPPED, "C3": Verdict.FAIL, "C4": Verdict.SKIPPED}


def test_the_boards_own_serial_number_is_a_good_dsn(tmp_path: Path) -> None:
    serial_number = tmp_path / "serial-number"
    serial_number.write_bytes(b"10000000abcdef01\0")
    found = look(read_settings({**LWA, "dsn": None}, None, {}), serial_number=serial_number)

    assert broken(found) == []
    assert found["C4"].facts == (("dsn", "10000000abcdef01"),)


def test_a_dsn_that_is_not_the_boards_own_is_mentioned(tmp_path: Path) -> None:
    serial_number = tmp_path / "serial-number"
    serial_number.write_bytes(b"10000000abcdef01\0")
    found = look(serial_number=serial_number)["C4"]

    assert found.verdict is Verdict.OK
    assert "not this board's serial number" in found.sentence
    assert ("serial", "10000000abcdef01") in found.facts


def test_a_ca_file_that_can_be_read_is_named(tmp_path: Path) -> None:
    ca_file = Authority(tmp_path).ca_file
    found = look(read_settings({**LWA, "ca_file": str(ca_file)}, None, {}))

    assert broken(found) == []
    assert found["C7"].facts == (("origin", "ca_file"), ("authorities", str(ca_file)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SSL_CERT_FILE", "Only the authorities that SSL_CERT_FILE names are trusted."),
        ("REQUESTS_CA_BUNDLE", "Only the authorities that REQUESTS_CA_BUNDLE names are trusted."),
    ],
)
def test_the_variable_whose_authorities_are_trusted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.setenv(name, str(Authority(tmp_path).ca_file))

    assert look()["C7"].sentence == said


def test_a_variable_whose_authorities_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nowhere/ca.pem")
    found = look()

    assert broken(found) == ["C7"]
    assert "CURL_CA_BUNDLE" in found["C7"].next_step


def test_without_a_ca_file_the_finding_says_whose_authorities_are_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    found = look()["C7"]

    assert found.sentence == "The system's authorities are trusted." or "certifi" in found.sentence


def settings_with_secret(tmp_path: Path, mode: int) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(f'client_secret = "{SECRET}"\n')
    path.chmod(mode)
    return read_settings(LWA, SettingsFiles(config=path), {})


def test_a_secret_that_only_its_owner_can_read_is_well_kept(tmp_path: Path) -> None:
    assert broken(look(settings_with_secret(tmp_path, 0o600))) == []


def test_a_link_that_takes_a_secret_misses_it_where_none_is_set(tmp_path: Path) -> None:
    needed = LinkSecret("https://api.amazon.com/auth/O2/token", is_needed=True, may_go=True)

    found = look(link_secret=needed)["C8"]

    assert (found.verdict, "client secret" in found.sentence) == (Verdict.WARN, True)
    assert look(settings_with_secret(tmp_path, 0o600), link_secret=needed)["C8"].verdict is Verdict.OK


def test_a_secret_in_a_file_that_is_open_to_its_group_is_found(tmp_path: Path) -> None:
    found = look(settings_with_secret(tmp_path, 0o620))

    assert broken(found) == ["C8"]
    assert found["C8"].next_step.startswith("Run: chmod 600 ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_in_settings_that_the_service_reads_is_well_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = grp.struct_group(("device-auth", "x", 997, []))
    monkeypatch.setattr(grp, "getgrnam", {"device-auth": given}.__getitem__)
    settings = settings_with_secret(tmp_path, 0o600)
    assert settings.files.config is not None
    os.chown(settings.files.config, 0, 997)
    settings.files.config.chmod(0o640)

    assert look(settings)["C8"].verdict is Verdict.OK


def test_a_secret_in_the_environment_is_found() -> None:
    found = look(read_settings(LWA, None, {"DEVICE_AUTH_CLIENT_SECRET": SECRET}))

    assert broken(found) == ["C8"]
    assert "environment" in found["C8"].sentence
    assert SECRET not in str(found)


@pytest.mark.parametrize("way", ["credential", "option"])
def test_a_secret_in_a_file_of_its_own_is_well_kept(tmp_path: Path, way: str) -> None:
    path = tmp_path / "device-auth.client-secret"
    path.touch(mode=0o600)
    path.write_text(SECRET)
    options, environment = {**LWA, "client_secret_file": str(path)}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    given = read_settings(options, None, {}) if way == "option" else read_settings(LWA, None, environment)

    assert broken(look(given)) == []
    assert way in look(given)["C8"].sentence


def test_a_file_that_has_gone_since_is_not_judged(tmp_path: Path) -> None:
    given = settings_with_secret(tmp_path, 0o600)
    (tmp_path / "config.toml").unlink()

    assert look(given)["C8"].verdict is Verdict.SKIPPED


@pytest.mark.parametrize("name", ["invalid_client", "unauthorized_client", "InvalidValue"])
@pytest.mark.parametrize("dialect", DialectName)
def test_a_client_id_that_the_provider_rejects_is_found(dialect: DialectName, name: str) -> None:
    found = look(asked=credential_probe(refusal(name, status=401), dialect))

    assert broken(found) == ["C9"]
    assert found["C9"].exit_code == 78
    assert name in found["C9"].sentence
    assert "Other Devices and Platforms" in found["C9"].next_step


@pytest.mark.parametrize("name", ["invalid_grant", "invalid_request"])
def test_what_the_answer_cannot_tell_is_left_open(name: str) -> None:
    found = look(asked=credential_probe(refusal(name)))["C9"]

    assert found.verdict is Verdict.OK
    assert "only linking shows" in found.sentence


@pytest.mark.parametrize("dialect", DialectName)
def test_the_client_id_is_in_what_is_asked(dialect: DialectName) -> None:
    transport = SimulatedTransport([refusal("invalid_grant")])
    look(asked=CredentialProbe(transport, make_provider(dialect)))

    (asked,) = transport.sent
    assert f"client_id={make_provider(dialect).client_id}".encode() in asked.body


def test_no_answer_says_nothing_about_the_client_id() -> None:
    asked = CredentialProbe(SimulatedTransport([NO_ANSWER]), make_provider())

    assert look(asked=asked)["C9"].verdict is Verdict.SKIPPED


@pytest.mark.parametrize(
    ("options", "said"),
    [(LWA, "Login with Amazon's code-based linking needs none"), (RFC8628, "a public client needs none")],
)
def test_whoever_has_no_secret_is_told_who_needs_none(options: dict[str, object], said: str) -> None:
    assert said in look(read_settings(options, None, {}))["C8"].sentence


NEEDED = LinkSecret("https://id.example/token", is_needed=True, may_go=True)


def test_a_refusal_of_a_confidential_client_that_was_asked_without_its_secret_says_nothing() -> None:
    asked = credential_probe(refusal("invalid_client", status=401), DialectName.RFC8628)

    found = look(asked=asked, link_secret=NEEDED)["C9"]

    assert found.verdict is Verdict.SKIPPED
    assert "C8" in found.sentence


def test_a_client_that_is_refused_with_its_secret_has_one_of_two_wrong() -> None:
    transport = SimulatedTransport([refusal("invalid_client", status=401)])
    provider = make_provider(DialectName.RFC8628)
    asked = CredentialProbe(transport, provider, find_secret=lambda: Secret(SECRET))

    found = look(asked=asked, link_secret=NEEDED)["C9"]

    assert "the client ID with the client secret" in found.sentence
    assert "client_secret" in found.next_step
    assert SECRET not in str(found)


def test_a_client_that_is_refused_without_a_secret_may_need_one() -> None:
    asked = credential_probe(refusal("invalid_client", status=401), DialectName.RFC8628)

    assert "or wants a client secret" in look(asked=asked)["C9"].sentence


def test_a_provider_that_may_not_be_asked_is_not() -> None:
    (last,) = [each for each in checks(read_settings(LWA, None, {}), [], None) if each.code == "C9"]

    assert last.look().verdict is Verdict.SKIPPED
    assert last.after == ("C2", "N14")


@pytest.mark.parametrize(("may_go", "verdict"), [(True, Verdict.OK), (False, Verdict.FAIL)])
def test_where_the_secret_goes_is_told(tmp_path: Path, verdict: Verdict, *, may_go: bool) -> None:
    config = tmp_path / "config.toml"
    config.write_text('client_secret = "a-secret"\n')
    config.chmod(0o600)
    settings = read_settings(LWA, SettingsFiles(config=config), {})
    endpoint = "https://elsewhere.example/token"

    link_secret = LinkSecret(endpoint, is_needed=True, may_go=may_go)
    found = {it.code: it.look() for it in checks(settings, [], None, link_secret)}["C8"]

    assert found.verdict is verdict
    assert (endpoint in found.sentence) is not may_go
