"""A setting that is set is the one that is got; one that is refused leaves the file byte for byte."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth.core.errors import ConfigError, WrongUse
from device_auth.service.page import KEYS as PAGE_KEYS
from device_auth.world.settings import KEY_OF, KEYS, read_word
from device_auth.world.toml_lines import write_value
from hardware.board import HARDWARE_KEYS
from hardware.plans import KEYS_OF_SORTS, parse_pin
from hardware.settings import SELECTOR, Key, ValueType
from tests.unit.test_config import COMPLETE, run_config

SECRET = "client_secret"

PRESENT = COMPLETE + 'base_url = "http://127.0.0.1:1/auth/O2/"\n'
"""Without TLS, whose certificates take long to load."""

words = st.one_of(
    st.sampled_from([str(key.example) for key in KEYS]),
    st.sampled_from(
        ["lwa", "rfc8628", "true", "false", "told", "plain", "0", "7", "61", "", " x", '"x"', "de", "ü#"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=20),
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def run(folder: Path, *given: str) -> object:
    """Run the verb, and return what it printed for a program; the error if it was refused."""
    out = StringIO()
    with redirect_stdout(out), redirect_stderr(StringIO()):
        try:
            run_config(folder, "--json", "--config", str(folder / "config.toml"), *given)
        except (ConfigError, WrongUse) as refused:
            return refused
    return json.loads(out.getvalue())


def got(folder: Path, name: str) -> object:
    shown = run(folder, "get", name)
    assert isinstance(shown, dict), shown
    return shown["value"]


@settings(max_examples=40)
@given(name=st.sampled_from([key.name for key in KEYS if key.name != SECRET]), word=words)
def test_any_word_is_got_back_or_refused(folder: Path, name: str, word: str) -> None:
    path = folder / "config.toml"
    path.write_text(PRESENT)
    path.chmod(0o600)

    answer = run(folder, "set", "--", name, word)

    if not isinstance(answer, dict):
        assert path.read_text() == PRESENT
        return
    meant = KEY_OF[name].read(read_word(KEY_OF[name], word))
    assert str(got(folder, name)) == str(meant)


def other(key: Key) -> object:
    """Return an acceptable value that is not the default."""
    if key.parse is parse_pin:
        return 5
    likely = [*key.choices, *([key.within[0], key.within[-1]] if key.within else []), key.example]
    likely.append("/dev/other" if key.type is ValueType.PATH else ["/bin/cat"])
    return next(value for value in likely if value not in ("", key.default, str(key.default)))


def tables_of(sort: str) -> Iterator[tuple[dict[str, object], list[Key]]]:
    """Yield a table of each kind of a part, and its keys."""
    keys = KEYS_OF_SORTS[sort]
    for kind in next((key.choices for key in keys if key.name == SELECTOR), ("",)):
        pins = count(17)
        own = [key for key in keys if key.name != SELECTOR and key.belongs_to(str(kind))]
        table = {
            key.name: next(pins) if key.parse is parse_pin else other(key) for key in own if key.is_required
        }
        yield ({SELECTOR: kind} if kind else {}) | table, own


def in_tables() -> Iterator[tuple[str, str, Key]]:
    """Yield the text of a file, the name of a setting in a table, and its key."""
    for key in PAGE_KEYS:
        yield PRESENT, f"page.{key.name}", key
    for key in HARDWARE_KEYS:
        if key.name not in KEYS_OF_SORTS:
            yield PRESENT + "[hardware]\n", f"hardware.{key.name}", key
    for sort in KEYS_OF_SORTS:
        for table, own in tables_of(sort):
            lines = "".join(f"{name} = {write_value(value)}\n" for name, value in table.items())
            for key in own:
                yield f"{PRESENT}[hardware.{sort}]\n{lines}", f"hardware.{sort}.{key.name}", key


def test_every_key_of_a_table_is_got_back(folder: Path) -> None:
    path, names = folder / "config.toml", []
    for text, name, key in in_tables():
        path.write_text(text)
        path.chmod(0o600)
        value = other(key)
        word = value if key.type in {ValueType.TEXT, ValueType.PATH} else write_value(value)

        answer = run(folder, "set", name, str(word))

        assert isinstance(answer, dict), (name, word, answer)
        found = got(folder, name)
        assert (tuple(found) if isinstance(found, list) else found) == (
            tuple(value) if isinstance(value, list | tuple) else value
        ), name
        names.append(name)
    assert len(names) > 50


def test_a_table_takes_no_key_that_it_does_not_know(folder: Path) -> None:
    path = folder / "config.toml"
    path.write_text(PRESENT)
    path.chmod(0o600)

    assert isinstance(run(folder, "set", "hardware.lamp", "on"), ConfigError)
    assert isinstance(run(folder, "set", "page.hosts", "1"), ConfigError)

    assert path.read_text() == PRESENT
