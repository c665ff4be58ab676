"""What a person copied, and what sticks to it."""

import codecs
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth.core.models import Secret
from device_auth.simulator.referee import ACCESS_PREFIX, REFRESH_PREFIX
from device_auth.wire.pasted import ACCESS_TOKENS, is_simulated, read_refresh_token, read_text, trim

TOKEN = "Atzr|IwEBIJ" + "aB3-_xyz" * 40
BROKEN = [TOKEN[start : start + 79] for start in range(0, len(TOKEN), 79)]


@pytest.mark.parametrize(
    "content",
    [
        TOKEN.encode(),
        f"\n  {TOKEN} \r\n\r\n".encode(),
        codecs.BOM_UTF8 + TOKEN.encode(),
        f"{TOKEN}\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + f"{TOKEN}\n".encode("utf-16-be"),
        f"{TOKEN}\n".encode("utf-16-le"),
        f"{TOKEN}\n".encode("utf-16-be"),
        f'"{TOKEN}"\n'.encode(),
        f"'{TOKEN}'".encode(),
        f"“{TOKEN}”".encode(),
        f"<{TOKEN}>".encode(),
        f" \" '{TOKEN}' \" ".encode(),
        f"\u200b{TOKEN}\u200b".encode(),
        "\n".join(BROKEN).encode(),
        "\r\n  ".join(BROKEN).encode(),
        " ".join(BROKEN).encode(),
        f"refresh_token={TOKEN}\n".encode(),
        f'  "refresh_token": "{TOKEN}",\n'.encode(),
        json.dumps({"refresh_token": TOKEN}).encode(),
        json.dumps(
            {"link": {"refresh_token": TOKEN, "client_id": "x"}, "all": [1, TOKEN]}, indent=2
        ).encode(),
        json.dumps([{"refreshToken": f"{TOKEN}\n"}, {"refresh_token": f"{TOKEN}\n"}]).encode(),
    ],
)
def test_a_refresh_token_is_understood_as_people_have_it(content: bytes) -> None:
    assert read_refresh_token(content) == Secret(TOKEN)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b'""', "is empty"),
        (b"\x89PNG\r\n\x1a\n\xff\x00", "is not text"),
        (b"a\0bc", "is not text"),
        (b"\x1b[1mAtzr|x", "is not text"),
        (codecs.BOM_UTF16_LE + b"odd", "is not text"),
        (b"Atza|IwEB", "is an access token, which lives an hour and cannot be refreshed"),
        (b"Sim|A|IwEB", "is an access token, which lives an hour and cannot be refreshed"),
        (b"Bearer 2YotnFZFEjr1zCsicMWpAA", "is an access token, which lives an hour and cannot be refreshed"),
        (b"Authorization: Bearer Atza|x", "is an access token, which lives an hour and cannot be refreshed"),
        (b'{"refresh_token": "Atza|x"}', "is an access token, which lives an hour and cannot be refreshed"),
        (f"{TOKEN}\n{TOKEN}\n".encode(), "has several words or lines"),
        (f"{TOKEN}\n{TOKEN[:50]}\n".encode(), "has several words or lines"),
        (b"1//0gFirst\n1//0gSecond\n", "has several words or lines"),
        (b"see you", "has several words or lines"),
        ("Atzr|ü".encode(), "has characters that are in no token"),
        (b"A" * 4097, "has more than 4096 characters"),
        (b'{"refresh_token": "x"', "begins like JSON and is none"),
        (b"[" * 50_000, "begins like JSON and is none"),
        (b"[" * 100_000, "is too long"),
        (b'{"access_token": "Atza|x", "refresh_token": ""}', "is JSON without a refresh token"),
        (b'{"refresh_token": {"refresh_token": 3}}', "is JSON without a refresh token"),
        (
            b'[{"refresh_token": "Atzr|x"}, {"refresh_token": "Atzr|y"}]',
            "is JSON with several refresh tokens",
        ),
    ],
)
def test_of_any_other_text_it_is_said_what_it_is(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$") as caught:
        read_refresh_token(content)

    assert caught.value.__cause__ is None


def test_of_two_tokens_none_is_made_into_one() -> None:
    # the second could be the rest of the first, were it not for its own beginning
    with pytest.raises(ValueError, match="several words or lines"):
        read_refresh_token(f"{TOKEN}\nAtzr|short\n".encode())


@settings(max_examples=200)
@given(
    st.binary(max_size=200)
    | st.text(max_size=100).map(str.encode)
    | st.text("\"'<> {}[]Atzr|\n", max_size=60).map(str.encode)
)
def test_any_bytes_at_all_give_a_token_or_a_reason(content: bytes) -> None:
    with suppress(ValueError):
        token = read_refresh_token(content).reveal()

        assert token.isascii()
        assert token.isprintable()


def test_marks_are_taken_off_in_pairs_only() -> None:
    assert [trim(text) for text in ('"', "it's", "<a", "(a)")] == ['"', "it's", "<a", "(a)"]


def test_nothing_is_an_empty_text() -> None:
    assert read_text(b"") == ""


def test_what_a_simulator_gave_is_known() -> None:
    assert is_simulated(Secret(f"{REFRESH_PREFIX}x"))
    assert not is_simulated(Secret(TOKEN))
    assert ACCESS_PREFIX in ACCESS_TOKENS
