import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from device_auth.cli import config
from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName, Provider
from device_auth.world.places import read_places
from device_auth.world.provider import provider_problems, read_authorities, read_provider, warnings_about
from device_auth.world.settings import KEYS, SettingsFiles, gather_settings, read_settings, variable_of

CANARY = "canary2f7c1d"
NO_SERIAL = Path("/nowhere")
NAMES = [key.name for key in KEYS]

wild_text = st.text(st.characters(codec=None), max_size=40)
plausible = st.sampled_from(
    [str(key.example) for key in KEYS]
    + [
        "lwa",
        "rfc8628",
        "",
        "123456",
        "http://127.0.0.1:1/",
        "https://[",
        "https://a:b@c",
        "https://x.org:x",
        "en",
    ]
)
values = wild_text | plausible
toml_values = st.one_of(
    values.map(json.dumps),
    st.sampled_from(
        ["5", "-1", "true", "[1, {a = 2}]", "{a.b.c = 1}", "1979-05-27", "inf", "nan", "'", '"""', "9" * 30]
    ),
)
toml_lines = st.one_of(
    st.builds(
        "{} = {}".format, st.sampled_from([*NAMES, "hardware", "hardware.led", "clientid"]), toml_values
    ),
    st.sampled_from(["[hardware]", "[hardware.led]", "[client_id]", "[[x]]", "# remark", "client_secret"]),
    wild_text,
)
# a text of several lines would make the secret a part of another value
single_lines = toml_lines.filter(lambda line: '"""' not in line and "'''" not in line)
toml_files = st.one_of(
    st.binary(max_size=200),
    st.lists(toml_lines, max_size=6).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")),
)
variables = st.sampled_from(
    [variable_of(key) for key in KEYS]
    + ["DEVICE_AUTH_CONFIG", "DEVICE_AUTH_X", "HOME", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"]
    + ["XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"]
)
environments = st.dictionaries(variables | wild_text, values, max_size=6)
options = st.dictionaries(
    st.sampled_from([*NAMES, "state_dir", "runtime_dir", "config", "simulate"]), values, max_size=5
)


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.toml"
        file.touch(mode=0o600)
        yield file


def said(error: ConfigError) -> str:
    causes: list[BaseException] = [error]
    while causes[-1].__context__ is not None:
        causes.append(causes[-1].__context__)
    return f"{error.hint} {' '.join(f'{cause!s} {cause!r}' for cause in causes)}"


@given(raw=toml_files, environ=environments, chosen=options)
@example(raw=b"hardware = 1", environ={}, chosen={})
def test_any_file_environment_and_options_give_settings_or_say_what_is_wrong(
    path: Path, raw: bytes, environ: dict[str, str], chosen: dict[str, str]
) -> None:
    path.write_bytes(raw)

    try:
        settings, problems = gather_settings(chosen, SettingsFiles(config=path), environ)
    except ConfigError:
        return

    assert all(problem.hint for problem in problems)
    assert isinstance(warnings_about(settings), list)
    with suppress(ConfigError):
        read_authorities(settings)
        assert isinstance(read_provider(settings, NO_SERIAL), Provider)


@given(environ=environments, chosen=options, euid=st.integers(1, 2**33))
def test_any_environment_and_options_give_places_or_say_what_is_wrong(
    environ: dict[str, str], chosen: dict[str, str], euid: int
) -> None:
    try:
        places = read_places(chosen, environ, euid, Path("/nowhere"))
    except ConfigError:
        return

    assert places.runtime_dir is None or not places.runtime_dir.is_relative_to(places.state_dir)


@given(raw=toml_files, environ=environments, as_json=st.booleans(), action=st.sampled_from(["show", "check"]))
def test_any_file_and_environment_can_be_shown_and_checked(
    path: Path, raw: bytes, environ: dict[str, str], as_json: bool, action: str
) -> None:
    path.write_bytes(raw)
    args = Namespace(config_action=action, config=str(path), json=as_json, state_dir="/s", runtime_dir="/r")

    with ExitStack() as opened:
        out = opened.enter_context(redirect_stdout(StringIO()))
        opened.enter_context(redirect_stderr(StringIO()))
        try:
            code = config.run(args, environ=environ)
        except ConfigError:
            assert action == "show"
            return

    assert code == 0 or (code == 78 and action == "check")
    out.getvalue().encode()
    if as_json:
        assert len(out.getvalue().splitlines()) == 1
        json.loads(out.getvalue(), parse_constant=pytest.fail)


@given(
    before=st.lists(single_lines, max_size=3),
    after=st.lists(single_lines, max_size=3),
    spoiled=st.sampled_from(
        ["{}", "{}\x00", '"{}', '"{}" x', "{} = 1", "[{}]", '["{}"]', '"{}"', '"{} "', '"ü{}"', "'{}'"]
    ),
    mode=st.sampled_from([0o600, 0o644]),
    as_variable=st.booleans(),
)
def test_the_client_secret_is_never_seen(
    path: Path, before: list[str], after: list[str], spoiled: str, mode: int, as_variable: bool
) -> None:
    secret = f"client_secret = {spoiled.format(CANARY)}"
    path.write_bytes("\n".join([*before, secret, *after]).encode("utf-8", "surrogatepass"))
    path.chmod(mode)
    environ = {"DEVICE_AUTH_CLIENT_SECRET": spoiled.format(CANARY)} if as_variable else {}
    args = Namespace(config=str(path), state_dir="/s", runtime_dir="/r")

    told = []
    try:
        settings, problems = gather_settings({}, SettingsFiles(config=path), environ)
    except ConfigError as problem:
        told.append(said(problem))
    else:
        told.append(repr(settings) + str(settings))
        told += map(said, problems)
        told += map(said, provider_problems(settings, NO_SERIAL))
        told += warnings_about(settings)
    for action, as_json in (("show", False), ("show", True), ("check", False), ("check", True)):
        args.config_action, args.json = action, as_json
        seen = StringIO()
        with redirect_stdout(seen), redirect_stderr(seen):
            try:
                config.run(args, environ=environ)
            except ConfigError as problem:
                told.append(said(problem))
        told.append(seen.getvalue())

    assert CANARY not in " ".join(told)


@given(url=st.from_regex(r"https?://[a-z0-9.:\[\]@%#?/\\-]{0,30}", fullmatch=True))
def test_an_address_that_is_taken_is_https_or_on_this_machine(url: str) -> None:
    settings = read_settings({"dialect": "rfc8628", "client_id": "speaker", "issuer": url}, None, {})

    try:
        provider = read_provider(settings)
    except ConfigError:
        return

    assert provider.dialect is DialectName.RFC8628
    host = provider.issuer.split("/")[2]
    assert "@" not in host
    assert url.startswith("https://") or host.startswith(("localhost", "127.", "[::1]", "[::ffff:127."))
