"""The rules that no tool of the trade holds: where secrets come out, and who is excused from what."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
SOURCES: Final = sorted((ROOT / "device_auth").rglob("*.py")) + sorted((ROOT / "hardware").rglob("*.py"))

MAY_REVEAL: Final = {
    "device_auth/assembly/doors.py",  # tells a simulated Amazon the secret that its client has
    "device_auth/cli/export.py",  # passes the client secret to the process that writes it for its new owner
    "device_auth/cli/token.py",  # prints the access token: that is what it is for
    "device_auth/core/public.py",  # hands the access token to programs
    "device_auth/doctor/provider_probe.py",  # shows the proxy its name and password
    "device_auth/doctor/redaction.py",  # masks it wherever it stands
    "device_auth/factory/station/serial.py",  # types the password at a unit's prompt
    "device_auth/factory/talk.py",  # sends the key of a run and what must not be left; masks both wherever they stand
    "device_auth/factory/station/records/databases.py",  # gives the database its password
    "device_auth/factory/unit/token_search.py",  # searches for what a run may have left on a unit
    "device_auth/service/api.py",  # passes on which token was rejected
    "device_auth/tools/exports_sdk.py",  # writes the refresh token where its new owner reads it
    "device_auth/tools/exports_text.py",  # writes it in the form that its new owner reads
    "device_auth/tools/exports_with_secret.py",  # so does this, with the client's secret
    "device_auth/wire/addresses.py",  # masks a proxy's name and password
    "device_auth/wire/answers.py",  # sends the access token; keeps a message from showing a secret that was sent
    "device_auth/wire/authorization_code.py",  # sends the code, its verifier and the client secret
    "device_auth/wire/lwa.py",  # sends the device code, the refresh token and the client secret
    "device_auth/wire/pasted.py",  # looks whether a token is of a simulated Amazon
    "device_auth/wire/rfc8628.py",  # sends the device code, the refresh token and the client secret
    "device_auth/world/connections.py",  # gives requests the proxy's address
    "device_auth/world/envelope.py",  # writes the link
    "device_auth/world/pending.py",  # writes the current code pair
    "device_auth/world/token_files.py",  # writes the access token
    "device_auth/world/wiping.py",  # looks for what a wipe has left
}

EXCUSED_FROM_BANS: Final = {
    "device_auth/assembly/doors.py",  # random
    "device_auth/cli/quick_answers.py",  # os.environ and time: what reads settings and clocks costs all that is saved
    "device_auth/tools/authorize.py",  # subprocess: starts a browser
    "device_auth/factory/station/ssh.py",  # subprocess
    "device_auth/client.py",  # runs in other programs: time between attempts, os.environ for the user's own folder
    "device_auth/factory/station/local.py",  # subprocess
    "device_auth/world/clock.py",  # time
    "device_auth/world/connections.py",  # requests' own parts, below the transport
    "device_auth/world/keys.py",  # subprocess
    "device_auth/world/programs.py",  # subprocess
    "device_auth/world/settings.py",  # os.environ
    "device_auth/world/transport.py",  # requests
    "hardware/clock.py",  # time
    "hardware/espeak.py",  # subprocess, os.environ for what it starts
    "hardware/rpi_gpio.py",  # RPi.GPIO
}


BANNED_WORDS: Final = frozenset(
    [
        "Manager",
        "Handler",
        "Helper",
        "Util",
        "Utils",
        "Wrapper",
        "Base",
        "Common",
        "Data",
        "Info",
        "Process",
        "Do",
    ]
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def parsed_modules() -> dict[str, ast.Module]:
    return {module_of(path): ast.parse(text) for path, text in source_texts().items()}


def imported_at_run_time(module: str) -> set[str]:
    """Return the modules of ours that a module imports anywhere, but not for the type checker alone."""
    modules = parsed_modules()
    found, left = set(), list[ast.AST]([modules[module]])
    while left:
        node = left.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            left += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else f"{node.module}" for name in names}
        left += ast.iter_child_nodes(node)
    return found & modules.keys()


@cache
def documented() -> list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]]:
    """Return whatever has a docstring, and the module that it stands in."""
    return [
        (module, node)
        for module, tree in parsed_modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]


def class_names() -> Iterator[tuple[str, str]]:
    for module, node in documented():
        if isinstance(node, ast.ClassDef):
            yield node.name.lstrip("_"), module


@cache
def source_texts() -> dict[Path, str]:
    return {path: path.read_text() for path in SOURCES}


def files_with(pattern: str) -> set[str]:
    found = re.compile(pattern)
    return {str(path.relative_to(ROOT)) for path, text in source_texts().items() if found.search(text)}


def test_a_secret_comes_out_only_where_it_is_sent_or_stored() -> None:
    assert files_with(r"\.reveal\(") == MAY_REVEAL


def test_each_ban_is_lifted_only_for_the_door_it_is_about() -> None:
    assert files_with(r"noqa:.*TID251") <= EXCUSED_FROM_BANS


def test_every_excuse_gives_its_reason() -> None:
    bare = re.compile(
        r"# (?:noqa(?:: [A-Z]+[0-9]+(?:, [A-Z]+[0-9]+)*)?|type: ignore(?:\[[^\]]*\])?|pragma: no cover)\s*$",
        re.MULTILINE,
    )

    assert [str(path) for path, text in source_texts().items() if bare.search(text)] == []


def test_nothing_is_patched_with_mocks() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))

    assert [
        str(path)
        for path in tests
        if re.search(r"unittest\.mock|import mock\b", path.read_text()) and path != Path(__file__)
    ] == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    # raises CycleError, which names the circle; the import linter judges rooms and floors, not every module
    TopologicalSorter({module: imported_at_run_time(module) for module in parsed_modules()}).prepare()


def test_each_class_name_stands_for_one_class() -> None:
    places = defaultdict(list)
    for name, module in class_names():
        places[name].append(module)

    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_class_name_holds_a_word_that_says_nothing() -> None:
    words = {name: set(re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", name)) for name, _ in class_names()}

    assert {name for name, found in words.items() if found & BANNED_WORDS} == set()


def test_no_docstring_begins_with_give_or_say() -> None:
    said = [(module, ast.get_docstring(node) or "") for module, node in documented()]

    assert [each for each in said if re.match(r"(Give|Say)s?\b", each[1])] == []


def test_there_is_one_way_to_join_a_group() -> None:
    told = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "deploy" / "README.md"]
    told += [path for room in ("device_auth", "hardware") for path in (ROOT / room).rglob("*.py")]
    ways = {
        way
        for path in told
        for way in re.findall(r"(?:sudo )?\b(?:usermod|adduser|gpasswd)\b.{4}", path.read_text())
    }

    assert ways == {"sudo usermod -aG"}
