from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName, Flow, Link, Provider, Secret, UnixTime
from device_auth.core.values import replace
from device_auth.world.provider import (
    LWA_CLIENT_ID,
    compare_with_link,
    provider_problems,
    read_authorities,
    read_provider,
    warnings_about,
)
from device_auth.world.settings import KEYS, Settings, SettingsFiles, option_of, read_settings
from device_auth.world.unit import read_serial_number

NO_SERIAL = Path("/nowhere/serial-number")
LWA = {
    "client_id": LWA_CLIENT_ID + "0123456789abcdefghijklmnopqrstuv",
    "product_id": "Kitchen",
    "dsn": "G0001",
}
RFC8628 = {"dialect": "rfc8628", "client_id": "speaker", "issuer": "https://accounts.example.org"}
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBfDCCASGgAwIBAgIUFAKE0000000000000000000000000000000wCgYIKoZI
-----END CERTIFICATE-----
"""


@pytest.fixture(scope="module")
def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a CA")])
    start = datetime(2000, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + timedelta(days=36500))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def settings(**options: object) -> Settings:
    return read_settings(options, None, {})


def lwa(**options: object) -> Settings:
    return settings(**{**LWA, **options})


def rfc8628(**options: object) -> Settings:
    return settings(**{**RFC8628, **options})


def refusal_of(chosen: Settings, serial_number: Path = NO_SERIAL) -> str:
    with pytest.raises(ConfigError) as caught:
        read_provider(chosen, serial_number)
    assert caught.value.hint
    return str(caught.value)


def serial_number(folder: Path, raw: bytes) -> Path:
    path = folder / "serial-number"
    path.write_bytes(raw)
    return path


def test_login_with_amazon_needs_client_product_and_serial_number_only() -> None:
    assert read_provider(lwa()) == Provider(
        dialect=DialectName.LWA,
        client_id=LWA["client_id"],
        scope="alexa:all",
        device_endpoint="https://api.amazon.com/auth/O2/create/codepair",
        token_endpoint="https://api.amazon.com/auth/O2/token",
        product_id="Kitchen",
        dsn="G0001",
        locale="en-US",
    )


def test_a_base_url_may_end_with_a_slash_or_not() -> None:
    for base_url in ("http://127.0.0.1:8100/auth/O2", "http://127.0.0.1:8100/auth/O2/"):
        provider = read_provider(lwa(base_url=base_url))

        assert provider.device_endpoint == "http://127.0.0.1:8100/auth/O2/create/codepair"
        assert provider.token_endpoint == "http://127.0.0.1:8100/auth/O2/token"


def test_rfc8628_takes_an_issuer_and_leaves_the_endpoints_to_it() -> None:
    assert read_provider(rfc8628()) == Provider(
        dialect=DialectName.RFC8628,
        client_id="speaker",
        scope="",
        issuer="https://accounts.example.org",
    )


def test_rfc8628_takes_both_endpoints_in_place_of_an_issuer() -> None:
    provider = read_provider(
        settings(
            dialect="rfc8628",
            client_id="speaker",
            scope="openid profile",
            device_endpoint="https://a.example.org/device?tenant=1",
            token_endpoint="https://a.example.org/token",
        )
    )

    assert provider.device_endpoint == "https://a.example.org/device?tenant=1"
    assert provider.token_endpoint == "https://a.example.org/token"
    assert provider.scope == "openid profile"


def test_every_missing_setting_is_told_with_each_way_to_set_it() -> None:
    problems = provider_problems(settings(), NO_SERIAL)

    assert [str(problem) for problem in problems] == [
        "client_id is not set",
        "product_id is not set",
        "dsn is not set, and this machine has no serial number of its own",
    ]
    assert "--dsn, DEVICE_AUTH_DSN, or dsn in the settings file" in problems[2].hint


def test_all_missing_settings_are_told_at_once_with_the_command_that_writes_a_file() -> None:
    with pytest.raises(ConfigError) as caught:
        read_provider(settings(client_id="1234"), NO_SERIAL)

    assert str(caught.value) == (
        "product_id is not set; dsn is not set, and this machine has no serial number of its own;"
        " client_id (option --client-id) is a placeholder"
    )
    assert caught.value.hint == (
        "Write a settings file (device-auth config init), or use options and variables."
        " To have each explained, run: device-auth config check"
    )


def test_a_settings_file_that_is_there_is_named_as_the_place_of_what_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    with pytest.raises(ConfigError) as several:
        read_provider(replace(settings(), files=SettingsFiles(config=file)), NO_SERIAL)
    with pytest.raises(ConfigError) as one:
        read_provider(replace(lwa(dsn=None), files=SettingsFiles(config=file)), NO_SERIAL)

    assert several.value.hint.startswith(f"Correct them in {file}, or use options and variables.")
    assert "config init" not in several.value.hint + one.value.hint


def test_one_missing_setting_is_told_with_its_ways_and_the_command_that_writes_a_file() -> None:
    with pytest.raises(ConfigError) as caught:
        read_provider(lwa(dsn=None), NO_SERIAL)

    assert caught.value.hint.startswith("Set it: --dsn, DEVICE_AUTH_DSN, or dsn in the settings file.")
    assert caught.value.hint.endswith(" To write a settings file, run: device-auth config init")


def test_rfc8628_without_issuer_and_endpoints_is_told() -> None:
    assert (
        refusal_of(settings(dialect="rfc8628", client_id="speaker"))
        == "issuer is not set; nor are device_endpoint and token_endpoint"
    )


@pytest.mark.parametrize("name", ["device_endpoint", "token_endpoint"])
def test_one_endpoint_without_the_other_is_told_even_with_an_issuer(name: str) -> None:
    told = refusal_of(rfc8628(**{name: "https://a.example.org/x"}))

    other = {"device_endpoint": "token_endpoint", "token_endpoint": "device_endpoint"}[name]
    assert told == f"{other} is not set, but {name} is"


def test_the_serial_number_of_the_board_stands_in_for_the_dsn(tmp_path: Path) -> None:
    path = serial_number(tmp_path, b"10000000abcdef12\0")

    assert read_serial_number(path) == "10000000abcdef12"
    assert read_provider(lwa(dsn=None), path).dsn == "10000000abcdef12"
    assert read_provider(lwa(), path).dsn == "G0001"


@pytest.mark.parametrize("raw", [b"", b"\0", b"\xff\xfe", b"0000000000000000\0", b"a b\0"])
def test_a_board_without_a_real_serial_number_does_not_stand_in(tmp_path: Path, raw: bytes) -> None:
    assert refusal_of(lwa(dsn=None), serial_number(tmp_path, raw)).startswith(
        "dsn is not set, and this machine"
    )


@pytest.mark.parametrize(
    "value",
    [
        "123456",
        "1234567890",
        "012345",
        "1234",
        "0123456789",
        "0",
        "000000",
        "0000-0000",
        "xxxxxxxx",
        "----",
        "INSERT_YOUR_ID_HERE",
        "<product id>",
        "<dsn>",
        "your_dsn",
        "${SDK_CONFIG_DSN}",
    ],
)
@pytest.mark.parametrize("name", ["client_id", "product_id", "dsn"])
def test_a_placeholder_is_refused(name: str, value: str) -> None:
    assert refusal_of(lwa(**{name: value})) == f"{name} (option --{name.replace('_', '-')}) is a placeholder"


def test_a_client_id_of_zeros_behind_its_prefix_is_a_placeholder() -> None:
    assert "is a placeholder" in refusal_of(lwa(client_id=LWA_CLIENT_ID + "0" * 32))


def test_the_examples_themselves_are_placeholders() -> None:
    for key in KEYS:
        if key.is_own and not key.is_secret:
            chosen = lwa if key.belongs_to(DialectName.LWA) else rfc8628

            told = [str(problem) for problem in provider_problems(chosen(**{key.name: key.example}))]

            assert f"{key.name} (option {option_of(key)}) is a placeholder" in told


@pytest.mark.parametrize("value", ["G0001", "7", "112233", "12345670", "A-1", "Küche"])
def test_other_ids_are_left_to_the_provider(value: str) -> None:
    assert read_provider(lwa(product_id=value)).product_id == value


@pytest.mark.parametrize(
    "value", ["a b", "a\tb", "a\x1b", "a\u2003b", "a\u00a0b", "a\u200b", "\ufeffa", "é" * 385]
)
@pytest.mark.parametrize("name", ["client_id", "product_id", "dsn"])
def test_an_id_is_printable_without_spaces_and_not_too_long(name: str, value: str) -> None:
    assert refusal_of(lwa(**{name: value})).startswith(f"{name} (option ")


def test_a_client_id_is_ascii_and_at_most_100_characters_for_login_with_amazon() -> None:
    assert "outside ASCII" in refusal_of(rfc8628(client_id="spräker"))
    assert "longer than 100" in refusal_of(lwa(client_id="a1" * 50 + "b"))
    assert read_provider(lwa(client_id="a1" * 50)).client_id == "a1" * 50
    assert read_provider(rfc8628(client_id="a1" * 50 + "b")).client_id == "a1" * 50 + "b"


@pytest.mark.parametrize("scope", ["a  b", " a", "a ", 'a"b', "a\\b", "a\nb", "é", "x" * 385])
def test_a_malformed_scope_is_refused(scope: str) -> None:
    assert refusal_of(lwa(scope=scope)).startswith("scope (option --scope)")


@pytest.mark.parametrize(
    ("locale", "first"),
    [
        ("de-DE", "de-DE"),
        ("en", "en"),
        ("zh-Hans-CN", "zh-Hans-CN"),
        ("en-US, es-US", "en-US"),
        ("fr-CA,en-CA", "fr-CA"),
    ],
)
def test_of_several_locales_the_first_counts(locale: str, first: str) -> None:
    assert read_provider(lwa(locale=locale)).locale == first
    read_provider(rfc8628(locale=locale))  # any speaker has a language


@pytest.mark.parametrize("locale", ["english", "en_US.UTF-8", "e", "en-US\r\nX: y", ",en-US", "en-"])
def test_a_malformed_locale_is_refused(locale: str) -> None:
    assert "like en-US" in refusal_of(lwa(locale=locale))


@pytest.mark.parametrize(
    "url",
    [
        "https://accounts.example.org",
        "https://accounts.example.org:8443/a/b/",
        "https://192.0.2.7/x",
        "https://[2001:db8::1]:8443/",
        "http://localhost:8100/",
        "http://127.0.0.1:8100",
        "http://127.8.9.10",
        "http://[::1]:8100/x",
        "http://[::ffff:127.0.0.1]/",
        "HTTPS://ACCOUNTS.EXAMPLE.ORG",
        "https://xn--bcher-kva.example.org.",
        "https://a.example.org/" + "x" * (512 - 22),
    ],
)
def test_an_address_is_https_or_http_on_this_machine(url: str) -> None:
    assert read_provider(rfc8628(issuer=url)).issuer == url


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://accounts.example.org", "https"),
        ("http://192.168.1.7/", "https"),
        ("http://localhost.example.org/", "https"),
        ("http://127.0.0.1.example.org/", "https"),
        ("ftp://accounts.example.org", "https"),
        ("accounts.example.org", "https"),
        ("//accounts.example.org", "https"),
        ("https://", "no host"),
        ("https:///x", "no host"),
        ("https://:8443/x", "no host"),
        ("https://-a.example.org", "no host"),
        ("https://a..example.org", "no host"),
        ("https://127.1/", "no host"),
        ("http://127.1/", "no host"),
        ("http://0x7f000001/", "no host"),
        ("http://2130706433/", "no host"),
        ("https://1.2.3.4.5/", "no host"),
        ("https://[fe80::1%25eth0]/", "no host"),
        ("https://a.example.org:0/", "no host"),
        ("https://a.example.org:99999/", "well-formed"),
        ("https://[::1/", "well-formed"),
        ("https://me:pw@a.example.org/", "user name"),
        ("https://me@a.example.org/", "user name"),
        ("https://a.example.org/#x", "fragment"),
        ("https://a.example.org/#", "fragment"),
        ("https://a.example.org/?x=1", "query"),
        ("https://a.example.org/a b", "characters"),
        ("https://a.example.org\\@evil.example.org/", "characters"),
        ("https://a.exa\nmple.org/", "characters"),
        (" https://a.example.org/", "characters"),
        ("https://bücher.example.org/", "characters"),
        ("https://a.example.org/" + "x" * (513 - 22), "longer than 512"),
    ],
)
def test_any_other_address_is_refused(url: str, fault: str) -> None:
    told = refusal_of(rfc8628(issuer=url))

    assert told.startswith("issuer (option --issuer) ")
    assert fault in told
    assert "pw" not in told


OF_LWA = {"base_url", "authorization_endpoint", "redirect_uri"}


@pytest.mark.parametrize("name", [*sorted(OF_LWA), "device_endpoint", "token_endpoint"])
def test_every_address_is_judged(name: str) -> None:
    chosen = lwa if name in OF_LWA else rfc8628
    both = {"device_endpoint": "https://a.example.org/d", "token_endpoint": "https://a.example.org/t"}
    others = {} if name in OF_LWA else both

    told = refusal_of(chosen(**{**others, name: "http://a.example.org/x"}))

    assert told.startswith(f"{name} (option ")


def test_an_option_of_the_other_dialect_is_refused() -> None:
    told = refusal_of(lwa(issuer="https://accounts.example.org"))

    assert told == "issuer (option --issuer) does not belong to the dialect lwa"
    assert "--dsn" in refusal_of(rfc8628(dsn="G0001"))


def test_a_variable_of_the_other_dialect_is_passed_over_with_a_warning() -> None:
    chosen = read_settings(LWA, None, {"DEVICE_AUTH_ISSUER": "not even an address"})

    assert read_provider(chosen).issuer == ""
    assert warnings_about(chosen) == [
        "issuer (environment DEVICE_AUTH_ISSUER) is not used: it belongs to the dialect rfc8628."
    ]


def test_nothing_is_to_be_warned_of_in_ordinary_settings() -> None:
    assert warnings_about(lwa()) == []
    assert warnings_about(rfc8628(client_id="any form will do")) == []


def test_a_variable_of_a_container_platform_is_a_warning() -> None:
    chosen = read_settings(LWA, None, {"DEVICE_AUTH_PORT": "tcp://192.0.2.1:80"})

    assert [warning.split()[0] for warning in warnings_about(chosen)] == ["DEVICE_AUTH_PORT"]


def test_what_login_with_amazon_will_likely_refuse_is_a_warning() -> None:
    warnings = warnings_about(lwa(client_id="simulated", product_id="A-1", dsn="B 2", scope="profile"))

    assert [warning.split()[0] for warning in warnings] == ["client_id", "product_id", "dsn", "scope"]


def link(**values: str) -> Link:
    kept = {"client_id": LWA["client_id"], "token_endpoint": "https://api.amazon.com/auth/O2/token", **values}
    return Link(
        link_id="1",
        dialect=DialectName(kept.get("dialect", "lwa")),
        flow=Flow.DEVICE_CODE,
        client_id=kept["client_id"],
        scope=kept.get("scope", "alexa:all"),
        token_endpoint=kept["token_endpoint"],
        revocation_endpoint="",
        refresh_token=Secret("canary-refresh"),
        linked_at=UnixTime(0),
    )


def test_a_link_that_keeps_the_same_values_differs_in_nothing() -> None:
    assert compare_with_link(lwa(scope="alexa:all", base_url="https://api.amazon.com/auth/O2"), link()) == []


def test_defaults_are_no_difference() -> None:
    kept = link(dialect="rfc8628", scope="openid", token_endpoint="https://a.example.org/token")

    assert compare_with_link(settings(), kept) == []


def test_each_given_value_that_differs_from_the_link_is_told() -> None:
    told = compare_with_link(
        lwa(client_id="another", scope="profile", base_url="http://127.0.0.1:1/"), link()
    )

    assert told == [
        f"client_id (option --client-id) is not used: the stored link keeps {LWA['client_id']}.",
        "scope (option --scope) is not used: the stored link keeps alexa:all.",
        "base_url (option --base-url) is not used: the stored link keeps https://api.amazon.com/auth/O2/token.",
    ]


def test_another_dialect_and_its_token_endpoint_are_told() -> None:
    chosen = settings(
        dialect="rfc8628", token_endpoint="https://a.example.org/token", base_url="http://127.0.0.1:1/"
    )

    assert [sentence.split()[0] for sentence in compare_with_link(chosen, link())] == [
        "dialect",
        "token_endpoint",
    ]


def test_a_scope_that_the_link_does_not_have_is_told() -> None:
    told = compare_with_link(settings(dialect="rfc8628", scope="openid"), link(dialect="rfc8628", scope=""))

    assert told == ["scope (option --scope) is not used: the stored link keeps none."]


def test_without_a_ca_file_the_certificates_of_the_system_count() -> None:
    assert read_authorities(settings()).ca_file is None


def test_a_ca_file_with_certificates_is_given(tmp_path: Path, certificate: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(certificate)

    assert read_authorities(settings(ca_file=str(path))).ca_file == path


@pytest.mark.parametrize("content", ["", "no certificate", CERTIFICATE])
def test_a_ca_file_without_certificates_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(content)

    with pytest.raises(ConfigError, match=r"ca_file .* holds no certificates in PEM"):
        read_authorities(settings(ca_file=str(path)))


@pytest.mark.parametrize("name", ["none.pem", ".", "a\0b", "x" * 5000])
def test_a_ca_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        read_authorities(settings(ca_file=f"{tmp_path}/{name}"))


def test_a_ca_file_must_be_a_whole_path_unless_it_is_typed() -> None:
    with pytest.raises(ConfigError, match="absolute path"):
        read_authorities(read_settings({}, None, {"DEVICE_AUTH_CA_FILE": "ca.pem"}))
    with pytest.raises(ConfigError, match="no such file"):
        read_authorities(settings(ca_file="none.pem"))
