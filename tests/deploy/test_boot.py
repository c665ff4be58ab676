"""The lane that boots Debian: what counts as passed."""

from pathlib import Path
from typing import Final

import pytest

from tests.deploy.boot import GUEST, SUITES, problems_of, read_script

TEXT: Final = """\
# Shows something.
# boot: rw
# boot: ro
# limit: 60
check one true
for row in a b; do
    same "row-$row" 1 1
done
"""
FIRST: Final = "system: running\nok one\nok row-a\nexit status: 0\n"
SECOND: Final = "exit status: 0\n"


def problems(tmp_path: Path, *reports: str) -> list[str]:
    (tmp_path / "shown.sh").write_text(TEXT)
    return problems_of(read_script(tmp_path / "shown.sh"), list(reports))


def test_a_script_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "shown.sh").write_text(TEXT)
    script = read_script(tmp_path / "shown.sh")

    assert (script.boots, script.suites, script.limit) == (("rw", "ro"), tuple(SUITES), 60)


def test_each_check_seen_in_one_of_the_boots_is_a_pass(tmp_path: Path) -> None:
    assert problems(tmp_path, FIRST, SECOND) == []


@pytest.mark.parametrize(
    ("reports", "problem"),
    [
        ((FIRST, ""), "boot 2 gave no exit status"),
        ((FIRST, "exit status: 3\n"), "boot 2 ended with exit status 3"),
        ((FIRST + "FAILED two: exit 1\n", SECOND), "FAILED two: exit 1"),
        ((FIRST.replace("ok one", "ok ones"), SECOND), "no line says: ok one"),
        ((FIRST.replace("ok row-a", ""), SECOND), "no line says: ok row\\-.+"),
    ],
)
def test_what_is_missing_is_a_failure(tmp_path: Path, reports: tuple[str, str], problem: str) -> None:
    assert problems(tmp_path, *reports) == [problem]


def test_nothing_checked_is_a_failure(tmp_path: Path) -> None:
    assert "nothing was checked" in problems(tmp_path, SECOND, SECOND)


@pytest.mark.parametrize("path", sorted(GUEST.glob("*.sh")), ids=lambda path: path.stem)
def test_each_guest_script_checks_something(path: Path) -> None:
    assert path.stem == "lib" or read_script(path).checks
