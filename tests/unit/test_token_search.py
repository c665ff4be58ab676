import bz2
import gzip
import lzma
import os
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_auth.core.models import Secret
from device_auth.factory.unit import token_search
from device_auth.factory.unit.token_search import CHUNK, FoundToken, TokenSearch

OF_AMAZON = b"Atzr|IwEBIJedGXjDqsU_vMxykqOmg94k9jRVFQpJ"
OF_THE_RUN = "canary-without-any-known-beginning/+0123456789"

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda token: b"xx" + token + b"yy",
    "cut short": lambda token: token[:20],
    "percent-encoded": lambda token: quote(token).encode(),
    "percent-encoded in small letters": lambda token: quote(token, safe="").replace("%7C", "%7c").encode(),
    "percent-encoded twice": lambda token: quote(quote(token, safe=""), safe="").encode(),
    "JSON with an escape": lambda token: token.replace(b"|", b"\\u007c"),
    "HTML": lambda token: token.replace(b"|", b"&#124;"),
    "UTF-16, little end first": lambda token: token.decode().encode("utf-16-le"),
    "UTF-16, big end first": lambda token: token.decode().encode("utf-16-be"),
    "hexadecimal": lambda token: token.hex().encode(),
    "hexadecimal in capitals": lambda token: token.hex().upper().encode(),
    "base64": b64encode,
    "base64, a byte later": lambda token: b64encode(b"." + token),
    "base64, two bytes later": lambda token: b64encode(b"{}" + token),
    "base64 for addresses": lambda token: urlsafe_b64encode(b'{"token":"' + token + b'"}'),
}


@pytest.mark.parametrize("beginning", ["Atzr|", "Atza|", "Sim|R|", "Sim|A|"])
@pytest.mark.parametrize("form", FORMS)
def test_any_token_is_found_in_each_form(form: str, beginning: str) -> None:
    token = beginning.encode() + OF_AMAZON.partition(b"|")[2]

    assert TokenSearch().is_in(b"\x00\xff" + FORMS[form](token) + b"\n")


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"HTML", "JSON with an escape"}))
def test_a_text_of_the_run_is_found_in_each_form(form: str) -> None:
    search = TokenSearch([Secret(OF_THE_RUN)])

    assert search.is_in(b"before " + FORMS[form](OF_THE_RUN.encode()) + b" after")
    assert not search.is_in(b"before and after")


@given(st.binary(max_size=200), st.binary(max_size=8), st.binary(max_size=8))
def test_base64_is_found_wherever_the_token_begins(noise: bytes, before: bytes, after: bytes) -> None:
    text = noise + b" " + b64encode(before + b"Sim|R|0123456789abcdef0123456789" + after) + b" " + noise

    assert TokenSearch().is_in(text)


@settings(max_examples=30)
@given(st.binary(max_size=400))
def test_noise_is_no_token(noise: bytes) -> None:
    for octets in (noise, b64encode(noise), noise.hex().encode()):
        assert not TokenSearch().is_in(octets)


@pytest.mark.parametrize(
    "text",
    [
        b"tokens begin with Atzr| and Atza|, of the simulated Amazon with ``Sim|A|``",
        b'_TOKEN = re.compile(r"(?:At[a-z]{2}|Sim)\\|[^\\s]*")',
        b"(?:Atzr|Atza|Sim)",
        b"U2lt and QXR6cnw in a word",
    ],
)
def test_a_text_about_tokens_is_none(text: bytes) -> None:
    assert not TokenSearch().is_in(text)


def test_our_own_program_and_its_manuals_are_no_alarm() -> None:
    search = TokenSearch()
    search.files_below(Path(token_search.__file__).parent.parent.parent / "world")
    search.files_below(Path(token_search.__file__).parent.parent)
    search.files_below(Path(__file__).parent.parent.parent / "docs/doctor.md")

    found, searched = search.take_found()

    assert found == []
    assert searched > 10_000


# ---------------------------------------------------------------------------------------------------------
# Files


def found_below(top: Path, *tokens: str) -> list[FoundToken]:
    search = TokenSearch(map(Secret, tokens))
    search.files_below(top)
    return search.take_found()[0]


def test_a_token_on_the_edge_of_two_reads_is_found(tmp_path: Path) -> None:
    for length in (CHUNK - 20, CHUNK - 1, CHUNK, 2 * CHUNK - 7):
        (tmp_path / "f").write_bytes(b"." * length + OF_AMAZON + b"." * 100)

        assert found_below(tmp_path) == [FoundToken(str(tmp_path / "f"))]


def test_a_hole_costs_nothing_and_hides_nothing(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
        file.seek((1 << 40) - 4096)
        file.write(OF_AMAZON)

    assert found_below(tmp_path) == [FoundToken(str(tmp_path / "sparse"))]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_are_opened(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "log.1").write_bytes(pack(b"." * 3000 + OF_AMAZON))
    (tmp_path / "clean").write_bytes(pack(b"." * 3000))

    assert found_below(tmp_path) == [FoundToken(str(tmp_path / "log.1"))]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_file_that_is_cut_short_is_not_searched(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "log.1").write_bytes(pack(os.urandom(3000))[:-20])

    (found,) = found_below(tmp_path)

    assert found.why_not == "it is packed, and cannot be opened to its end"


def test_what_unpacks_to_too_much_is_not_searched_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_search, "MOST_UNPACKED", CHUNK)
    (tmp_path / "bomb").write_bytes(gzip.compress(bytes(3 * CHUNK), 1))

    assert found_below(tmp_path)[0].why_not


@pytest.mark.parametrize("magic", [b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"])
def test_what_cannot_be_opened_here_is_said(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "core.zst").write_bytes(magic + bytes(30))

    assert "cannot be opened here" in found_below(tmp_path)[0].why_not


def test_a_token_in_a_name_or_where_a_link_leads_is_found_and_not_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / OF_AMAZON.decode()).mkdir()
    (tmp_path / "a" / OF_AMAZON.decode() / "f").touch()
    (tmp_path / "b").symlink_to(OF_AMAZON.decode())

    found = found_below(tmp_path)

    assert [each.where for each in found] == [f"a name below {tmp_path}"] * 2 + [str(tmp_path / "b")]


def test_pipes_and_what_is_not_there_are_passed_by(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert found_below(tmp_path) == []
    assert found_below(tmp_path / "nothing") == []
    assert found_below(tmp_path / "pipe" / "below") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "file").touch(mode=0)

    assert [each.why_not for each in found_below(tmp_path)] == ["Permission denied"] * 2


def test_a_text_too_short_to_be_a_token_is_not_searched_for(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("abc")

    assert found_below(tmp_path, "abc") == []
