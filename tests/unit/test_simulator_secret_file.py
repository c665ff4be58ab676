import os
from pathlib import Path

import pytest

from device_auth.core.errors import ConfigError
from device_auth.simulator.secret_file import LARGEST_FILE, read_client_secrets
from tests.simulated_speaker import CLIENT_ID

OTHER_CLIENT = CLIENT_ID[:-1] + "0"


def written(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "clients"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_each_line_is_a_client_and_its_secret(tmp_path: Path) -> None:
    content = f"# the desk\n\n{CLIENT_ID} one two\n  {OTHER_CLIENT}   three \n"

    assert read_client_secrets(written(tmp_path, content.encode())) == {
        CLIENT_ID: "one two",
        OTHER_CLIENT: "three",
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
