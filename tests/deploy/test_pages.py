"""The manual pages: two readers find nothing wrong with them, and they say what the program and its settings say."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from deploy.man.write_pages import PROSE, SERVICE, all_pages, seen_at
from device_auth.assembly.hardware_parts import read_hardware
from device_auth.cli.main import EXIT_CODES, VERBS, help_of_provider, make_parser
from device_auth.prompts.light import PATTERN_KEYS
from device_auth.service.page import KEYS as PAGE_KEYS
from device_auth.world.settings import KEYS, TABLES, SettingsFiles, gather_settings
from hardware.board import HARDWARE_KEYS
from hardware.plans import KEYS_OF_SORTS
from tests.command import ROOT

WRITER: Final = ROOT / "deploy" / "man" / "write_pages.py"
RELEASED: Final = "1796000000"
"""30 November 2026."""


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", RELEASED)
        yield all_pages()


def as_read(page: str) -> str:
    """Return a page as it is read: without the marks of roff."""
    plain = re.sub(r"\\f[BIR]|\\&", "", page)
    for mark, letter in {
        r"\-": "-",
        r"\ ": " ",
        r"\(aq": "'",
        r"\(dq": '"',
        r"\(ti": "~",
        r"\e": "\\",
    }.items():
        plain = plain.replace(mark, letter)
    return plain


def section(page: str, head: str) -> str:
    found = re.search(rf"^\.SH {head}\n(.*?)(?=^\.SH |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, head
    return found[1]


def shown_options(parser: argparse.ArgumentParser) -> set[str]:
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return {option for action in shown for option in action.option_strings}


def parser_of(verb: str) -> argparse.ArgumentParser:
    subparsers = next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    found = subparsers.choices[verb]
    assert isinstance(found, argparse.ArgumentParser)
    return found


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_mandoc_finds_nothing_wrong(pages: dict[str, str], tmp_path: Path) -> None:
    for name, page in pages.items():
        (tmp_path / name).write_text(page)

    judged = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *sorted(pages)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (judged.returncode, judged.stdout, judged.stderr) == (0, "", "")


@pytest.mark.skipif(shutil.which("man") is None, reason="man-db is not installed")
def test_man_renders_every_page_in_80_columns_without_a_warning(
    pages: dict[str, str], tmp_path: Path
) -> None:
    for name, page in pages.items():
        (tmp_path / name).write_text(page)

        rendered = subprocess.run(
            ["man", "--warnings", "--local-file", f"./{name}"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
            capture_output=True,
            text=True,
            check=True,
        )

        assert (name, rendered.stderr) == (name, "")
        assert [line for line in rendered.stdout.splitlines() if len(line) > 80] == []
        assert rendered.stdout.startswith(name[:-2].upper())


@pytest.mark.skipif(shutil.which("lexgrog") is None, reason="man-db is not installed")
def test_whatis_finds_every_page(pages: dict[str, str], tmp_path: Path) -> None:
    for name, page in pages.items():
        (tmp_path / name).write_text(page)

    found = subprocess.run(
        ["lexgrog", *sorted(pages)], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout

    assert re.findall(r'^(\S+): "(\S+) - \S', found, re.MULTILINE) == [
        (name, name[:-2]) for name in sorted(pages)
    ]


def test_there_is_a_page_for_every_verb_and_one_for_the_settings_and_the_service(
    pages: dict[str, str],
) -> None:
    assert set(pages) == {
        "device-auth.1",
        "device-auth.toml.5",
        "device-auth.service.8",
        *(f"device-auth-{verb}.1" for verb in VERBS),
    }


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_page_names_the_options_of_its_help_and_no_others(pages: dict[str, str], verb: str) -> None:
    page = as_read(pages[f"device-auth-{verb}.1"])
    own = section(page, "OPTIONS") if ".SH OPTIONS" in page else ""
    entries = re.findall(r"^\.TP\n(.+)$", own, re.MULTILINE)
    tags = "\n".join([section(page, "COMMON OPTIONS"), *entries])

    assert set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", tags)) == shown_options(parser_of(verb))


def test_the_commands_page_explains_every_option_of_its_help(pages: dict[str, str]) -> None:
    options = section(as_read(pages["device-auth.1"]), "OPTIONS")
    tags = "\n".join(re.findall(r"^\.TP\n(.+)$", options, re.MULTILINE))

    every = shown_options(make_parser()) | shown_options(help_of_provider("device-auth"))
    assert set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", tags)) == every


@pytest.mark.parametrize("verb", ["config", "export", "hardware"])
def test_each_word_that_a_verb_takes_has_an_entry(pages: dict[str, str], verb: str) -> None:
    words = next(action.choices for action in parser_of(verb)._actions if not action.option_strings)
    options = section(as_read(pages[f"device-auth-{verb}.1"]), "OPTIONS")

    assert words is not None
    assert re.findall(r"^\.TP\n([a-z].*)$", options, re.MULTILINE) == list(words)


def test_every_page_of_the_command_has_the_exit_codes_of_help(pages: dict[str, str]) -> None:
    of_help = [line.split(maxsplit=1) for line in EXIT_CODES.replace("\n       ", " ").splitlines()[1:]]

    for name, page in pages.items():
        if name.endswith(".1"):
            listed = re.findall(r"^\.TP\n(\d+)\n(.+)$", section(as_read(page), "EXIT STATUS"), re.MULTILINE)
            assert [list(entry) for entry in listed] == of_help


def test_the_page_of_the_settings_has_every_key_of_every_table(pages: dict[str, str]) -> None:
    page = as_read(pages["device-auth.toml.5"])
    keys_of = {
        "SETTINGS": KEYS,
        r"THE TABLE \[page\]": PAGE_KEYS,
        r"THE TABLE \[hardware\]": HARDWARE_KEYS,
        r"THE TABLE \[hardware\.patterns\.MEANING\]": PATTERN_KEYS,
        **{rf"THE TABLE \[hardware\.{sort}\]": keys for sort, keys in KEYS_OF_SORTS.items()},
    }

    for head, keys in keys_of.items():
        tags = re.findall(r"^\.TP\n(\w+)", section(page, head), re.MULTILINE)
        assert tags == [key.name for key in keys]
    assert {f"THE TABLE \\[{table}\\]" for table in TABLES} <= set(keys_of)


def test_the_example_of_a_settings_file_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(PROSE["settings"]["example_file"])

    settings, problems = gather_settings({}, SettingsFiles(config=file), {})

    assert problems == []
    plan, _ = read_hardware(settings.hardware)
    assert plan.board == tomllib.loads(file.read_text())["hardware"]["board"]


def test_each_row_of_the_table_of_starts_is_walked_in_the_booted_machine(pages: dict[str, str]) -> None:
    script = (ROOT / "tests" / "deploy" / "guest" / "starts.sh").read_text()
    walked = re.findall(r'^row \S+ "(.+)"(?: press)?$', script, re.MULTILINE)
    table = " ".join(as_read(section(pages["device-auth.service.8"], "HOW IT STARTS")).split())

    assert set(walked) == {row["cause"] for row in SERVICE["starts"]}
    for row in SERVICE["starts"]:
        cells = [f"T{{ {cell} T}}" for cell in (row["cause"], *seen_at(row))]
        assert "@".join(cells) in table


def test_every_page_that_is_referred_to_is_there(pages: dict[str, str]) -> None:
    ours = {f"{name[:-2]}({name[-1]})" for name in pages}

    for page in pages.values():
        named = set(re.findall(r"device-auth[a-z.-]*\(\d\)", as_read(page)))
        assert named <= ours


def test_the_date_is_that_of_the_release_and_every_python_writes_the_same_bytes(
    pages: dict[str, str], tmp_path: Path
) -> None:
    assert all(" 2026-11-30 " in page.splitlines()[1] for page in pages.values())
    newer = [f"python3.{minor}" for minor in range(11, 15)]
    for python in [sys.executable, *newer]:
        folder = tmp_path / Path(python).name
        run = (
            subprocess.run(
                [python, "-I", str(WRITER), str(folder)],
                env={"PATH": os.environ["PATH"], "SOURCE_DATE_EPOCH": RELEASED, "TZ": "Pacific/Kiritimati"},
                capture_output=True,
                check=False,
            )
            if shutil.which(python)
            else None
        )
        if run is not None and run.returncode == 0:
            assert {path.name: path.read_text() for path in folder.iterdir()} == pages
        assert run is None or run.returncode in {0, 127}, run.stderr
