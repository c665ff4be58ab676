"""The code and the steps to link the speaker, laid out for the room that a terminal has.

The user code and the plain address are always there; the QR code and the large letters where they fit.
All text of a provider passes through ``TerminalStyle.clean``.
"""

from itertools import zip_longest
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from device_auth.core.errors import DeviceAuthError
from device_auth.core.values import dataclass
from device_auth.prompts.letters import draw_letters
from device_auth.prompts.picture import BLOCKS, RESET, ascii_blocks, half_blocks, read_matrix
from device_auth.prompts.stderr import linked
from device_auth.wire.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from device_auth.core.models import CodePair
    from device_auth.prompts.wording import Wording

GAP: Final = 3
"""Columns between the picture and the text."""

LEAST_TEXT: Final = 30
"""Columns that the text needs to stand beside the picture."""

MOST_TEXT: Final = 64
"""Columns beyond which a line is tiring to read."""

INDENT: Final = 3
"""Columns that a step's number takes."""

BOLD: Final = "1"


@dataclass(frozen=True, slots=True)
class TerminalStyle:
    """The abilities of a terminal: size, colours and characters.

    Attributes:
        encoding: characters that it lacks are escaped, or drawn in ASCII.
        colour: whether it shows colours and bold letters.
        has_black_and_white: whether it can be told to show white on black: a picture needs that on any ground, and
            also where colours are not wanted.
        has_links: whether an address can be clicked on.
    """

    columns: int
    rows: int
    encoding: str
    colour: bool
    has_black_and_white: bool = False
    has_links: bool = False

    def clean(self, text: str) -> str:
        """Make any text safe to write: no control characters, those of direction included, and none that it lacks."""
        printable = "".join(character if character.isprintable() else " " for character in text)
        return printable.encode(self.encoding, "backslashreplace").decode(self.encoding)

    def wrap(self, text: str, *, columns: int = 0, sgr: str = "", indent: int = 0) -> list[str]:
        """Break a text into lines.

        Args:
            text: need not be clean.
            columns: how many to use; 0 for all.
            sgr: SGR parameters, used only where there are colours.
            indent: how many of the columns are left empty before each line.
        """
        lines = wrap(self.clean(text), (columns or self.columns) - indent)
        return self.styled([" " * indent + line for line in lines], sgr)

    def styled(self, lines: list[str], sgr: str) -> list[str]:
        """Return the lines with their look, if there are colours."""
        if not self.colour or not sgr:
            return lines
        return [f"\x1b[{sgr}m{line}{RESET}" for line in lines]

    def linked(self, lines: list[str], uri: str) -> list[str]:
        """Return the lines as a link to an address, if there are links; one that could end it early makes none."""
        if not self.has_links or not (uri.isascii() and uri.isprintable() and " " not in uri):
            return lines
        return [linked(line, uri) for line in lines]

    def has_blocks(self) -> bool:
        """Return whether half blocks can be drawn."""
        try:
            BLOCKS.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True


class _Sentences(NamedTuple):
    """What is said around the address and the code."""

    heading: str
    open_it: str
    enter: str
    compare: str


def lay_out(
    pair: "CodePair", style: TerminalStyle, *, qr: bool, renewed: bool, words: "Wording | None" = None
) -> list[str]:
    """Return the largest arrangement that leaves a row free, or else the smallest.

    Args:
        pair: the code.
        style: what the terminal can show.
        qr: with the QR code, if it fits; otherwise a line gives the reason.
        renewed: whether it replaces another code.
        words: of another language than English.
    """
    lines: list[str] = []
    for lines in _arrangements(pair, style, words, qr=qr, renewed=renewed):
        if len(lines) < style.rows:
            break
    return lines


def _arrangements(
    pair: "CodePair", style: TerminalStyle, words: "Wording | None", *, qr: bool, renewed: bool
) -> "Iterator[list[str]]":
    scanned, typed = (_sentences(pair, words, scan=scan, renewed=renewed) for scan in (True, False))
    address = pair.prefilled_uri or pair.verification_uri
    picture, wide, why_not = draw_code(address, style) if qr else ([], 0, "")
    beside = style.columns - wide - GAP
    if picture and beside >= LEAST_TEXT:
        texts = list(_texts(pair, style, beside, scanned))
        for text in texts:
            yield ["", *_side_by_side(picture, wide, text), ""]
        for text in texts:
            yield _side_by_side(picture, wide, text)
    if picture and wide <= style.columns:
        for text in _texts(pair, style, style.columns, scanned):
            yield ["", *picture, "", *text, ""]
    if picture:
        why_not = (
            f"The QR code is left out: it needs {wide} columns and {len(picture)} rows beside this text."
        )
    note = style.wrap(why_not)
    for text in _texts(pair, style, style.columns, typed):
        yield ["", *text, "", *note, ""] if note else ["", *text, ""]
    yield [*note, *text]


def draw_code(
    text: str, style: TerminalStyle, *, level: "Literal['L', 'M']" = "M"
) -> tuple[list[str], int, str]:
    """Return the lines and the width of a text's QR code, or the reason why there is none.

    Args:
        text: for a phone to read.
        style: what the terminal can show; need not have room for it.
        level: of error correction; less makes the code smaller.
    """
    try:
        matrix = read_matrix(text, level=level)
    except DeviceAuthError as error:
        return [], 0, f"There is no QR code: {error}."
    if style.has_blocks():
        return half_blocks(matrix, colour=style.has_black_and_white), len(matrix), ""
    return ascii_blocks(matrix, colour=style.has_black_and_white), 2 * len(matrix), ""


def _texts(
    pair: "CodePair", style: TerminalStyle, columns: int, sentences: _Sentences
) -> "Iterator[list[str]]":
    """Yield the text with the user code in every form, the largest first, and at last without empty lines."""
    columns = min(columns, MOST_TEXT)
    for form in _forms(pair, style, columns - INDENT):
        yield _steps(pair, form, style, columns, sentences)
    yield [line for line in _steps(pair, [], style, columns, sentences) if line]


def _forms(pair: "CodePair", style: TerminalStyle, width: int) -> "Iterator[list[str]]":
    """Yield the forms of the user code, the largest first."""
    code = style.clean(pair.user_code)
    large = draw_letters(code, width) if style.has_blocks() else None
    if large:
        yield large
    a_line = max(1, (width + 2) // (3 if code.isascii() else 4))
    yield ["  ".join(code[start : start + a_line]) for start in range(0, len(code), a_line)]


def _sentences(pair: "CodePair", words: "Wording | None", *, scan: bool, renewed: bool) -> _Sentences:
    is_here = is_loopback(urlsplit(pair.verification_uri).hostname or "")
    if words is not None:
        return _Sentences(
            words.moments["new-code"] if renewed else words.page["lead"],
            words.command["only-here"] if is_here else words.moments["open-address"],
            f"{words.page['enter']} {pair.user_code}",
            f"{words.page['compare']} {pair.user_code}",
        )
    open_it = "Scan this with a phone, or open" if scan else "On your phone or computer, open"
    enter = "and enter" if pair.prefilled_uri or not scan else "Either way, enter"
    return _Sentences(
        "New code: the old one no longer works." if renewed else "Link this speaker to your account",
        "Open this here (no phone can):" if is_here else open_it,
        f"{enter} the code {pair.user_code}",
        "Check that the page shows the same code, then approve.",
    )


def _steps(
    pair: "CodePair", form: list[str], style: TerminalStyle, columns: int, sentences: _Sentences
) -> list[str]:
    """Return the steps to the approval, with the user code in ``form``."""
    first = style.wrap(sentences.open_it, columns=columns, indent=INDENT)
    second = style.wrap(sentences.compare, columns=columns, indent=INDENT)
    return [
        *style.wrap(sentences.heading, columns=columns, sgr=BOLD),
        "",
        *_numbered(1, first),
        *style.linked(
            style.wrap(pair.verification_uri, columns=columns, sgr=BOLD, indent=INDENT),
            pair.prefilled_uri or pair.verification_uri,
        ),
        *style.wrap(sentences.enter, columns=columns, indent=INDENT),
        "",
        *style.styled([" " * INDENT + line for line in form], BOLD),
        "",
        *_numbered(2, second),
    ]


def _numbered(number: int, lines: list[str]) -> list[str]:
    return [f"{number}.{lines[0][2:]}", *lines[1:]]


def _side_by_side(picture: list[str], wide: int, text: list[str]) -> list[str]:
    """Put text to the right of a picture, in the middle of its height."""
    above = max(0, (len(picture) - len(text)) // 2)
    picture = picture + [" " * wide] * (len(text) - len(picture))
    pairs = zip_longest(picture, [""] * above + text, fillvalue="")
    return [f"{left}{' ' * GAP}{right}" if right else left for left, right in pairs]


def columns_of(text: str) -> int:
    """Return the most columns a text can take: anything beyond ASCII may be two columns wide."""
    return len(text) + sum(not character.isascii() for character in text)


def wrap(text: str, width: int) -> list[str]:
    """Break a text between its words, and a word longer than the width (an address) after a punctuation mark."""
    width = max(1, width)
    lines: list[str] = []
    for word in text.split():
        first, *others = _pieces(word, width)
        if lines and columns_of(lines[-1]) + 1 + columns_of(first) <= width:
            lines[-1] += " " + first
        else:
            lines.append(first)
        lines += others
    return lines


def _pieces(word: str, width: int) -> "Iterator[str]":
    while columns_of(word) > width and len(word) > 1:
        end = max(1, width if word.isascii() else width // 2)
        after_mark = 1 + max(word.rfind(mark, 0, end) for mark in "/?&=")
        if after_mark > end // 2:
            end = after_mark
        yield word[:end]
        word = word[end:]
    yield word
