import re
from typing import Final

import wcwidth
from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth.core.models import Refusal, View
from device_auth.core.states import StateWord, Trouble
from tests.code_views import OWN_CONTROLS, REQUESTING, Window, code_pair, waiting
from tests.values import moment

ENCODINGS: Final = ["utf-8", "ascii", "latin-1", "cp437"]

any_text = st.text(max_size=64) | st.text("漢字é A-", min_size=10, max_size=64)
# what a model lets through as a user code: 1 to 64 printable characters
user_codes = any_text.map(lambda text: "".join(filter(str.isprintable, text))).filter(bool)
pairs = st.builds(
    lambda code, path, is_prefilled, expires_at: code_pair(
        code,
        uri=f"https://example.org/{path}",
        prefilled=f"https://example.org/{path}?user_code=x" if is_prefilled else None,
        expires_at=expires_at,
    ),
    user_codes,
    st.text("abc/-.é?=", max_size=60),
    st.booleans(),
    st.floats(0, 4000),
)
refusals = st.builds(Refusal, st.sampled_from(Trouble), any_text, any_text, any_text)
views = st.builds(
    lambda state, trouble, hint, pair, refusal, account, sequence: View(
        state, trouble, hint, pair if state is StateWord.WAITING else None, refusal, account, sequence
    ),
    st.sampled_from(StateWord),
    st.sampled_from(Trouble),
    any_text,
    pairs,
    st.none() | refusals,
    st.none() | any_text,
    st.integers(0, 3),
)
sizes = st.tuples(st.integers(20, 50) | st.integers(20, 130), st.integers(5, 60))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(views, sizes), min_size=1, max_size=4),
    st.sampled_from(ENCODINGS),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_whatever_is_told_fits_any_terminal_and_steers_none(
    told: list[tuple[View, tuple[int, int]]], encoding: str, is_tty: bool, colour: bool, qr: bool
) -> None:
    window = Window(*told[0][1], encoding=encoding, is_tty=is_tty, colour=colour, qr=qr)

    for now, (view, size) in enumerate(told):
        before = len(window.out.getvalue())
        window.size = size
        again = window.prompt.show(view, moment(now))
        new = window.out.getvalue()[before:]
        seen = OWN_CONTROLS.sub(lambda match: "\n" if match[0] == "\n" else "", new) if is_tty else new
        lines = seen.split("\n")
        assert again is None or again > now
        assert all(character.isprintable() for line in lines for character in line)
        assert not is_tty or max(wcwidth.wcswidth(line) for line in lines) <= size[0]
        assert new.encode(encoding).decode(encoding) == new


@settings(max_examples=20)
@given(user_codes, sizes)
def test_the_code_and_the_address_are_always_there(code: str, size: tuple[int, int]) -> None:
    window = Window(*size)

    window.show(REQUESTING)
    window.show(waiting(code_pair(code, uri="https://example.org/a")))

    squeezed, code = (re.sub(r"[█▀▄\s]", "", text) for text in (window.written, code))
    assert code in squeezed
    assert "https://example.org/a" in squeezed
