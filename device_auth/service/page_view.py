"""What the speaker's own page shows: news in, HTML out, in the visitor's language.

Whatever comes from the provider is text and nothing else: escaped wherever it stands, and no link unless it is
one that people may be sent to.
"""

import threading
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from math import ceil
from re import fullmatch
from string import Template
from typing import Final
from urllib.parse import urlsplit

from device_auth.core.errors import DeviceAuthError
from device_auth.core.models import CodePair, Monotonic, Seconds, UnixTime
from device_auth.core.ports import Clock
from device_auth.core.states import StateWord, Trouble
from device_auth.http.events import write_event
from device_auth.prompts.picture import read_matrix, svg
from device_auth.prompts.wording import LANGUAGES, Wording, choose_language, code_words, read_wording
from device_auth.service.status_feed import Snapshot
from device_auth.wire.answers import read_page_uri

UNDO_FOR: Final = Seconds(600)
"""How long after linking the page tells how to undo it."""

REFRESH: Final = 10
"""Seconds after which a browser without script looks again."""

MOST_ACCOUNT: Final = 100
"""Characters that are shown of what the account is called."""

LONG_CODE: Final = 10
"""Characters of a user code; a longer one is set smaller, to fit a phone."""

_WISH: Final = r"\s*(\*|[A-Za-z]{1,8})(?:-[A-Za-z0-9-]*)?\s*(?:;\s*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?"
"""A language range and its weight. Source: RFC 4647 §2.1; RFC 9110 §12.4.2."""

_GOOD: Final = "M4 12.5l5.5 5.5L20 7"
_BAD: Final = "M12 4v10M12 19v.5"
_BUSY: Final = "M5 12v.01M12 12v.01M19 12v.01"
_BUTTON: Final = "M12 3a9 9 0 1 0 .01 0M12 8a4 4 0 1 0 .01 0"


# ---------------------------------------------------------------------------------------------------------
# Which language


def best_language(accepted: str, otherwise: str) -> str:
    """Choose the language that a visitor likes best among ours.

    Args:
        accepted: the field ``Accept-Language``; what is malformed in it is passed over.
        otherwise: for whoever likes none of ours.

    Source: RFC 9110 §12.4.2, §12.5.4; RFC 4647 §3.3.1.
    """
    best, most = otherwise, 0.0
    for wish in accepted.split(","):
        found = fullmatch(_WISH, wish)
        if found is None:
            continue
        language = otherwise if found[1] == "*" else found[1].lower()
        weight = float(found[2] or 1)
        if language in LANGUAGES and weight > most:
            best, most = language, weight
    return best


# ---------------------------------------------------------------------------------------------------------
# What there is to see


@dataclass(frozen=True, slots=True)
class PageModel:
    """All that the page shows, but for the countdown.

    Attributes:
        code_pair: the one to approve, while it can be.
        account: whose account it is, once linked and where the scope gives one.
        is_new: it has been linked within the last minutes.
    """

    state: StateWord
    trouble: Trouble
    code_pair: CodePair | None = field(default=None, repr=False)
    account: str | None = None
    is_new: bool = False


def see(news: Snapshot, now: Monotonic, wall: UnixTime) -> PageModel:
    """Pick what the page shows out of all that is known."""
    view, pair = news.view, news.view.code_pair
    is_linked = view.state is StateWord.LINKED
    return PageModel(
        state=view.state,
        trouble=view.trouble,
        code_pair=pair if pair is not None and now < pair.expires_at else None,
        account=view.account[:MOST_ACCOUNT] if is_linked and view.account else None,
        # either way: a wall clock that was set back meanwhile must not hide it, nor show it for years
        is_new=is_linked and news.link is not None and abs(wall - news.link.linked_at) < UNDO_FOR,
    )


# ---------------------------------------------------------------------------------------------------------
# Drawing it


class PageRenderer:
    """Draws the page; keeps one QR code, for a visitor who asks often must not cost much.

    Args:
        clock: tells how long a code has left.
        locale: whose language to speak with visitors who like none of ours.
    """

    def __init__(self, clock: Clock, locale: str) -> None:
        self._clock = clock
        self._language = choose_language(locale).language
        self._lock = threading.Lock()
        self._drawn = ("", "")
        self.policy = _write_policy()

    def language_for(self, accepted: str) -> str:
        """Choose a visitor's language, see :func:`best_language`."""
        return best_language(accepted, self._language)

    def see(self, news: Snapshot) -> PageModel:
        """Pick what there is to see now."""
        return see(news, self._clock.now(), self._clock.wall())

    def page(self, sight: PageModel, language: str) -> bytes:
        """Draw the whole page."""
        words = read_words(language).page
        left = self._left_of(sight)
        values = {
            "language": language,
            "title": escape(words["title"]),
            "refresh": str(REFRESH),
            "sight": _name_of(self._main(sight, language)),
            "left": str(left),
            "main": self._main(sight, language, left),
            "lost": escape(words["lost"]),
            "style": read_static("page.css"),
            "script": read_static("page.js"),
        }
        return _encode(_fill("page.html", values))

    def event(self, sight: PageModel, language: str) -> bytes:
        """Draw what stands in ``main`` as an event, after a line with the seconds left.

        Its ID is the same as long as nothing but the countdown changes.
        """
        main = self._main(sight, language)
        return write_event(f"{self._left_of(sight)}\n{main}", _name_of(main))

    def _left_of(self, sight: PageModel) -> int:
        """Tell for how many seconds the code can still be used."""
        return 0 if sight.code_pair is None else max(0, ceil(sight.code_pair.expires_at - self._clock.now()))

    def _main(self, sight: PageModel, language: str, left: int | None = None) -> str:
        wording = read_words(language)
        if sight.code_pair is None:
            self._drawn = ("", "")  # a code that is over is not kept
            drawn = _told(sight, wording)
        else:
            drawn = self._waiting(sight.code_pair, sight.trouble, wording, left)
        # it ends a line of an event as well
        return drawn.replace("\r", " ")

    def _waiting(self, pair: CodePair, trouble: Trouble, wording: Wording, left: int | None) -> str:
        link = read_page_uri(pair.prefilled_uri)
        address = read_page_uri(pair.verification_uri)
        words = wording.page
        said = wording.troubles.get(trouble)
        spelled = code_words(wording, pair.user_code)[: len(pair.user_code)]
        values = {
            "lead": escape(words["lead"]),
            # what to do about it does not go here: there is a code to use
            "trouble": _paragraph("note", said.sentence) if said else "",
            "compare": escape(words["compare" if link else "enter"]),
            "size": " long" if len(pair.user_code) > LONG_CODE else "",
            "user_code": escape(pair.user_code),
            "spelled": escape(", ".join(utterance.text for utterance in spelled)),
            "valid": escape(words["valid"]).format(time=_timer(left)),
            "way": "" if address is None else self._way(link or address, address, words),
        }
        return _fill("waiting.html", values)

    def _way(self, link: str, address: str, words: Mapping[str, str]) -> str:
        host = (urlsplit(link).hostname or "").removeprefix("www.")
        plain = address.removeprefix("https://").removeprefix("http://")
        values = {
            "link": escape(link),
            "approve": escape(words["approve"]).format(host=escape(host)),
            "come_back": escape(words["come-back"]),
            "qr": escape(words["qr"]),
            "picture": self._picture(link),
            "second_phone": escape(words["second-phone"]),
            "by_hand": escape(words["by-hand"]).format(address=f"<strong>{_breakable(plain)}</strong>"),
        }
        return _fill("way.html", values)

    def _picture(self, link: str) -> str:
        with self._lock:
            if self._drawn[0] != link:
                try:
                    self._drawn = (link, svg(read_matrix(link)))
                except DeviceAuthError:
                    # no library, or too much for any QR code: the link and the address stand beside it
                    self._drawn = (link, "")
            return self._drawn[1]


def _told(sight: PageModel, wording: Wording) -> str:
    trouble = wording.troubles.get(sight.trouble)
    match sight.state:
        case StateWord.LINKED:
            lines = _linked(sight, wording)
        case StateWord.STARTING | StateWord.UNLINKED if trouble is not None:
            lines = [_mark(_BAD, "bad"), _headline(trouble.sentence), _paragraph("told", trouble.next_step)]
        case StateWord.UNLINKED:
            lines = [_mark(_BUTTON), _headline(wording.page["press"])]
        case StateWord.WAITING:
            # the code has just run out, and the loop has not said yet what is next
            lines = [_headline(wording.troubles[Trouble.EXPIRED].sentence)]
        case _:
            lines = [_mark(_BUSY), _headline(wording.states[sight.state]), *_notes(sight, wording)]
    return "\n".join(lines)


def _linked(sight: PageModel, wording: Wording) -> list[str]:
    words = wording.page
    said = wording.moments["just-linked"] if sight.is_new else wording.states[sight.state]
    lines = [_mark(_GOOD), _headline(said)]
    if sight.account:
        lines.append(_paragraph("told", words["account"], account=sight.account))
    if sight.is_new:
        lines += [_paragraph("note", words["undo"]), _paragraph("quiet", words["may-close"])]
    return [*lines, *_notes(sight, wording)]


def _notes(sight: PageModel, wording: Wording) -> list[str]:
    trouble = wording.troubles.get(sight.trouble)
    return [] if trouble is None else [_paragraph("note", f"{trouble.sentence} {trouble.next_step}")]


def _headline(text: str) -> str:
    return f'<h1 class="sole">{escape(text)}</h1>'


def _paragraph(kind: str, text: str, **strong: str) -> str:
    values = {name: f"<strong>{escape(value)}</strong>" for name, value in strong.items()}
    return f'<p class="{kind}">{escape(text).format(**values)}</p>'


def _mark(path: str, kind: str = "") -> str:
    return f'<svg class="mark {kind}" viewBox="0 0 24 24" aria-hidden="true"><path d="{path}"/></svg>'


def _breakable(address: str) -> str:
    """Let a long address go on in the next line behind its slashes."""
    return escape(address).replace("/", "/<wbr>")


def _timer(left: int | None) -> str:
    text = "" if left is None else f"{left // 60}:{left % 60:02}"
    return f'<span id="left" role="timer" aria-live="off">{text}</span>'


def _name_of(main: str) -> str:
    return sha256(_encode(main)).hexdigest()[:16]


def _encode(text: str) -> bytes:
    # half a surrogate pair can stand in the provider's JSON
    return text.encode(errors="replace")


# ---------------------------------------------------------------------------------------------------------
# The data that ships


@cache
def read_words(language: str) -> Wording:
    """Read one language, once."""
    return read_wording(language)


@cache
def read_static(name: str) -> str:
    """Read one file of the page, once."""
    return (files("device_auth.service") / "static" / name).read_text(encoding="utf-8")


def _fill(name: str, values: Mapping[str, str]) -> str:
    return Template(read_static(name)).substitute(values)


def _write_policy() -> str:
    """Write the content security policy: this page's own style and script, its own events, and nothing else.

    Source: CSP Level 3 §2.3.1, "hash-source".
    """
    style, script = (
        b64encode(sha256(read_static(name).encode()).digest()).decode() for name in ("page.css", "page.js")
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
