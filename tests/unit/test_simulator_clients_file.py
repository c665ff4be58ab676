import os
from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName
from device_auth.simulator.clients_file import LARGEST_FILE, read_client_secrets, read_clients
from device_auth.simulator.models import RegisteredClient
from tests.simulated_speaker import CLIENT_ID

OTHER_CLIENT = CLIENT_ID[:-1] + "0"


def written(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "clients"
    path.write_bytes(content)
    path.chmod(mode)
    return path


FILE = f"""
[[client]]
id = "{CLIENT_ID}"
redirect_uris = ["https://localhost:9745/authresponse", "http://localhost:3000/"]

[[client]]
id = "{OTHER_CLIENT}"
secret = "one two"
dialects = ["lwa"]

[[client]]
id = "a-tv"
secret = "three"

[[client]]
id = "a-lamp"
redirect_uris = []
"""


def test_the_file_names_clients_with_all_that_they_have(tmp_path: Path) -> None:
    rfc8628 = frozenset({DialectName.RFC8628})

    assert read_clients(written(tmp_path, FILE.encode())) == {
        CLIENT_ID: RegisteredClient(
            redirect_uris=frozenset({"https://localhost:9745/authresponse", "http://localhost:3000/"})
        ),
        OTHER_CLIENT: RegisteredClient(secret="one two", dialects=frozenset({DialectName.LWA})),
        "a-tv": RegisteredClient(secret="three", dialects=rfc8628),
        "a-lamp": RegisteredClient(dialects=rfc8628, redirect_uris=frozenset()),
    }


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ('secret = "CANARY"', "client 2 of .* has no id"),
        ('id = ""', "client 2 of .* has no id"),
        ('id = "CANARY CANARY"', "client 2 of .* has no id"),
        ('id = "a"\nCANARY = 1', "client 2 of .* has a key that is not known"),
        ('id = "a"\nsecret = ""', "the secret of client 2"),
        ('id = "a"\nsecret = ["CANARY"]', "the secret of client 2"),
        ('id = "a"\nsecret = "CANARY"\ndialects = ["lwa"]', "the dialects of client 2"),
        ('id = "a"\ndialects = "rfc8628"', "the dialects of client 2"),
        ('id = "a"\nredirect_uris = ["http://desk.example/"]', "the redirect_uris of client 2"),
        ('id = "a"\nredirect_uris = [1]', "the redirect_uris of client 2"),
        (f'id = "{CLIENT_ID}"\nsecret = "CANARY"', "client 2 of .* has the ID of another"),
        ('id = "a"\nsecret = CANARY', "is not valid TOML"),
        ('id = "\xff"', "is not valid TOML"),
        ('id = "a"\n[CANARY]', "is not a list of clients"),
    ],
)
def test_a_client_that_is_described_wrongly_is_named_by_its_number_alone(
    tmp_path: Path, entry: str, problem: str
) -> None:
    content = f'[[client]]\nid = "{CLIENT_ID}"\n[[client]]\n{entry}\n'

    with pytest.raises(ConfigError, match=problem) as caught:
        read_clients(written(tmp_path, content.encode("latin-1")))

    assert "CANARY" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


@pytest.mark.parametrize("content", ["", "[client]", "client = []", "client = [1]", "[" * 20_000])
def test_a_file_without_clients_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigError):
        read_clients(written(tmp_path, content.encode()))


@pytest.mark.parametrize(("secret", "mode"), [("x", 0o640), ("x", 0o604), ("x", 0o620), ("", 0o602)])
def test_clients_that_others_can_read_with_a_secret_or_change_are_refused(
    tmp_path: Path, secret: str, mode: int
) -> None:
    line = f'secret = "{secret}"' if secret else ""
    path = written(tmp_path, f'[[client]]\nid = "a"\n{line}\n'.encode(), mode)

    with pytest.raises(ConfigError, match=r"(other users can read|any user can change) .*clients") as caught:
        read_clients(path)

    assert caught.value.hint.startswith("Run: chmod ")


def test_clients_without_a_secret_may_be_read_by_others(tmp_path: Path) -> None:
    assert read_clients(written(tmp_path, b'[[client]]\nid = "a"\n', 0o644))


def test_each_line_is_a_client_and_its_secret(tmp_path: Path) -> None:
    content = f"# the desk\n\n{CLIENT_ID} one two\n  {OTHER_CLIENT}   three \n"

    assert read_client_secrets(written(tmp_path, content.encode())) == {
        CLIENT_ID: RegisteredClient(secret="one two"),
        OTHER_CLIENT: RegisteredClient(secret="three"),
    }


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, f"{CLIENT_ID} CANARY".encode(), mode)

    with pytest.raises(ConfigError, match="other users can read") as caught:
        read_client_secrets(path)

    assert caught.value.hint == f"Run: chmod 600 {path}"


@pytest.mark.parametrize(
    "line", [CLIENT_ID, f"{CLIENT_ID} ", "CANARY", "CANARY CANARY", f"{CLIENT_ID} CANARY", "\xff CANARY"]
)
def test_a_line_that_is_something_else_is_named_by_its_number_alone(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, f"{CLIENT_ID} CANARY\n{line}\n".encode("latin-1"))

    with pytest.raises(ConfigError, match="line 2 of ") as caught:
        read_client_secrets(path)

    assert "CANARY" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


def test_what_is_no_file_of_secrets_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "loop").symlink_to("loop")

    for name, complaint in (
        ("nothing", "cannot read"),
        ("loop", "cannot read"),
        ("", "cannot read"),
        ("pipe", "not a file"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            read_client_secrets(tmp_path / name)
    with pytest.raises(ConfigError, match="too large"):
        read_client_secrets(written(tmp_path, b"#" * (LARGEST_FILE + 1)))
