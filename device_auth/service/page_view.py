"""Renders the speaker's own page: a snapshot in, HTML out, in the visitor's language.

Text of the provider is escaped wherever it stands, and becomes a link only if people may be sent there.
"""

import threading
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from hashlib import sha256
from html import escape
from http import HTTPStatus
from importlib.resources import files
from math import ceil
from re import fullmatch
from string import Template
from typing import Final
from urllib.parse import urlsplit

from device_auth.core.errors import DeviceAuthError
from device_auth.core.models import CodePair, Monotonic, Seconds, UnixTime
from device_auth.core.ports import Clock
from device_auth.core.states import IDENTIFYING, OneTimeNotice, StateWord, Trouble
from device_auth.core.values import dataclass, field
from device_auth.http.admission import CROWDED
from device_auth.http.events import write_event
from device_auth.prompts.picture import read_matrix, svg
from device_auth.prompts.stderr import minutes_of
from device_auth.prompts.wording import DEFAULT_LANGUAGE, Wording, code_words, find_language, read_wording
from device_auth.service.status_feed import Snapshot
from device_auth.wire.answers import read_page_uri

UNDO_FOR: Final = Seconds(600)
"""Time after linking in which the page explains how to undo it."""

NOTICE_FOR: Final = Seconds(20)
"""Time in which a notice is shown: no hold goes on for longer unless the button is stuck, no question waits so long."""

REFRESH: Final = 10
"""Seconds after which a browser without script reloads the page."""

MOST_ACCOUNT: Final = 100
"""Characters of the name of the account that are shown."""

LONG_CODE: Final = 10
"""Characters of a user code; a longer one is set smaller, to fit a phone."""

_LANGUAGE_RANGE: Final = (
    r"\s*(\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9-]*)?)\s*(?:;\s*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?"
)
"""A language range and its weight. Source: RFC 4647 §2.1; RFC 9110 §12.4.2."""

_GOOD: Final = "M4 12.5l5.5 5.5L20 7"
_BAD: Final = "M12 4v10M12 19v.5"
_BUSY: Final = "M5 12v.01M12 12v.01M19 12v.01"
_BUTTON: Final = "M12 3a9 9 0 1 0 .01 0M12 8a4 4 0 1 0 .01 0"


_UNANSWERED: Final = ("not-answered", "")
_REFUSALS: Final = {
    HTTPStatus.MISDIRECTED_REQUEST: ("not-this-name", ""),
    HTTPStatus.NOT_FOUND: ("not-here", ""),
    **dict.fromkeys(CROWDED, ("too-many", "looks-again")),
}
"""The phrases of a refusal: why, and what happens or is to be done next."""


# ---------------------------------------------------------------------------------------------------------
# Which language


def best_language(accepted: str, otherwise: str) -> str:
    """Return the language that a visitor prefers among ours, or of a country with words of its own.

    Args:
        accepted: the field ``Accept-Language``; malformed parts are ignored.
        otherwise: for a visitor who prefers none of ours.

    Source: RFC 9110 §12.4.2, §12.5.4; RFC 4647 §3.3.1.
    """
    best, most = otherwise, 0.0
    for wanted, weight in _ranges(accepted):
        language = otherwise if wanted == "*" else find_language(wanted)[0]
        if language and weight > most:
            best, most = language, weight
    return best


def is_second_choice(accepted: str, language: str) -> bool:
    """Return whether a visitor would rather read another language; one of another country is no other language."""
    wanted, weight = max(_ranges(accepted), key=lambda each: each[1], default=("*", 0.0))
    return weight > 0 and wanted != "*" and wanted.partition("-")[0].lower() != language[:2]


def _ranges(accepted: str) -> Iterator[tuple[str, float]]:
    """Yield each language range with its weight, the first of equal ones first."""
    for part in accepted.split(","):
        found = fullmatch(_LANGUAGE_RANGE, part)
        if found is not None:
            yield found[1].rstrip("-"), float(found[2] or 1)


# ---------------------------------------------------------------------------------------------------------
# The model


@dataclass(frozen=True, slots=True)
class PageModel:
    """All that the page shows, except the countdown.

    Attributes:
        code_pair: the one to approve, while it is valid.
        is_withheld: there is such a code, and this visitor may not read it.
        account: the name of the account, once linked and where the scope gives one.
        is_new: linked within the last minutes.
        is_checking: a refusal is asked about again.
        lasts: the link outlasts a power cut, as far as is known.
        notice: the answer to the button, for a moment.
    """

    state: StateWord
    trouble: Trouble
    code_pair: CodePair | None = field(default=None, repr=False)
    is_withheld: bool = False
    account: str | None = None
    is_new: bool = False
    is_checking: bool = False
    lasts: bool = True
    notice: OneTimeNotice | None = None


def read_model(snapshot: Snapshot, now: Monotonic, wall: UnixTime, *, sees_code: bool = True) -> PageModel:
    """Return the part of a snapshot that the page shows to a visitor, who may read the code or not."""
    view, pair = snapshot.view, snapshot.view.code_pair
    is_valid = pair is not None and now < pair.expires_at
    is_linked = view.state is StateWord.LINKED
    return PageModel(
        state=view.state,
        trouble=view.trouble,
        code_pair=pair if is_valid and sees_code else None,
        is_withheld=is_valid and not sees_code,
        account=view.account_name[:MOST_ACCOUNT] if is_linked and view.account_name else None,
        is_checking=view.is_checking,
        lasts=not (is_linked and view.doubt),
        notice=view.notice if _is_notice_shown(snapshot, now) else None,
        # abs: a wall clock that was set back meanwhile must neither hide it nor show it for years
        is_new=is_linked and snapshot.link is not None and abs(wall - snapshot.link.linked_at) < UNDO_FOR,
    )


def _is_notice_shown(snapshot: Snapshot, now: Monotonic) -> bool:
    return snapshot.view.notice not in IDENTIFYING and now - snapshot.told_at < NOTICE_FOR


# ---------------------------------------------------------------------------------------------------------
# HTML


class PageRenderer:
    """Renders the page. The last QR code is kept, so that frequent requests cost little.

    Args:
        clock: for the seconds that a code has left.
        locale: its language is for visitors who prefer none of ours.
    """

    def __init__(self, clock: Clock, locale: str) -> None:
        self._clock = clock
        self._language = find_language(locale)[0] or DEFAULT_LANGUAGE
        self._lock = threading.Lock()
        self._qr_code = ("", "")
        self.policy = _write_policy("page.css", "page.js")
        self.refusal_policy = _write_policy("page.css")

    def language_for(self, accepted: str) -> str:
        """Return a visitor's language, see :func:`best_language`."""
        return best_language(accepted, self._language)

    def model(self, snapshot: Snapshot, *, sees_code: bool) -> PageModel:
        """Return the model of the page now."""
        return read_model(snapshot, self._clock.now(), self._clock.wall(), sees_code=sees_code)

    def page(
        self, model: PageModel, language: str, accepted: str = "", *, name: str = "", has_light: bool = False
    ) -> bytes:
        """Render the whole page.

        Args:
            model: what it shows.
            language: one of ours.
            accepted: the page says so where this asks for another language.
            name: of the speaker; empty for none.
            has_light: a visitor may let the speaker's light show which speaker it is.
        """
        wording = read_words(language)
        words = wording.page
        left = self._left_of(model)
        title = escape(words["title"])
        asks = {key: escape(words[key]) for key in ("which", "identify", "identified")}
        values = {
            "language": language,
            "direction": wording.direction,
            "other": escape(words["other-language"]) if is_second_choice(accepted, language) else "",
            "title": f"{title}: {escape(name)}" if name else title,
            "heading": f"{title}: <bdi>{escape(name)}</bdi>" if name else title,
            "which": _fill("which.html", asks) if has_light else "",
            "refresh": str(REFRESH),
            "sight": _name_of(self._main(model, language)),
            "left": str(left),
            "main": self._main(model, language, left),
            "notice": escape(_notice(model, wording)),
            "lost": escape(words["lost"]),
            "style": read_static("page.css"),
            "script": read_static("page.js"),
        }
        return _encode(_fill("page.html", values))

    def event(self, model: PageModel, language: str) -> bytes:
        """Render the content of ``main`` as an event, after a line with the seconds left and one with the notice.

        Its ID stays while only those two change.
        """
        main, notice = self._main(model, language), _notice(model, read_words(language))
        return write_event(f"{self._left_of(model)}\n{notice}\n{main}", _name_of(main))

    def refusal(
        self, status: HTTPStatus, addresses: Collection[str], language: str, *, is_stranger: bool
    ) -> bytes:
        """Render the small page of a refusal: why, and where the page is. It holds nothing of the request.

        Args:
            status: of the refusal.
            addresses: of the page.
            language: one of ours.
            is_stranger: the visitor is in another network, whatever else is wrong.
        """
        wording = read_words(language)
        words = wording.page
        is_crowded = status in CROWDED
        why, what_next = (
            ("not-this-network", "join-network") if is_stranger else _REFUSALS.get(status, _UNANSWERED)
        )
        lines = [_mark(_BAD, "bad"), _headline(words[why])]
        lines += [_paragraph("told", words[what_next])] if what_next else []
        lines += [_paragraph("told", words["open-here"])] if addresses else []
        lines += [
            f'<p><a class="go" dir="ltr" href="{escape(it)}">{_breakable(it)}</a></p>' for it in addresses
        ]
        values = {
            "language": language,
            "direction": wording.direction,
            "title": escape(words["title"]),
            "refresh": f'\n<meta http-equiv="refresh" content="{REFRESH}">' if is_crowded else "",
            "style": read_static("page.css"),
            "main": "\n".join(lines),
        }
        return _encode(_fill("refusal.html", values))

    def _left_of(self, model: PageModel) -> int:
        """Return the seconds for which the code is still valid."""
        return 0 if model.code_pair is None else max(0, ceil(model.code_pair.expires_at - self._clock.now()))

    def _main(self, model: PageModel, language: str, left: int | None = None) -> str:
        wording = read_words(language)
        if model.code_pair is None:
            self._qr_code = ("", "")  # a code that has expired is not kept
            drawn = _without_code(model, wording)
        else:
            drawn = self._waiting(model.code_pair, model.trouble, wording, left)
        # a carriage return ends a line of an event as well
        return drawn.replace("\r", " ")

    def _waiting(self, pair: CodePair, trouble: Trouble, wording: Wording, left: int | None) -> str:
        link = read_page_uri(pair.prefilled_uri)
        address = read_page_uri(pair.verification_uri)
        words = wording.page
        phrase = wording.troubles.get(trouble)
        spelled = code_words(wording, pair.user_code)[: len(pair.user_code)]
        values = {
            "lead": escape(words["lead"]),
            # without its next step: there is a code to use
            "trouble": _paragraph("note", phrase.sentence) if phrase else "",
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
            "approve": escape(words["approve"]).format(host=f'<bdi dir="ltr">{escape(host)}</bdi>'),
            "come_back": escape(words["come-back"]),
            "qr": escape(words["qr"]),
            "picture": self._picture(link),
            "second_phone": escape(words["second-phone"]),
            "by_hand": escape(words["by-hand"]).format(
                address=f'<strong dir="ltr">{_breakable(plain)}</strong>'
            ),
        }
        return _fill("way.html", values)

    def _picture(self, link: str) -> str:
        with self._lock:
            if self._qr_code[0] != link:
                try:
                    self._qr_code = (link, svg(read_matrix(link)))
                except DeviceAuthError:
                    # no library, or too long for any QR code: the link and the address are there too
                    self._qr_code = (link, "")
            return self._qr_code[1]


def _without_code(model: PageModel, wording: Wording) -> str:
    trouble = wording.troubles.get(model.trouble)
    match model.state:
        case StateWord.LINKED:
            lines = _linked(model, wording)
        case StateWord.STARTING | StateWord.UNLINKED if trouble is not None:
            lines = [_mark(_BAD, "bad"), _headline(trouble.sentence), _paragraph("told", trouble.next_step)]
        case StateWord.UNLINKED:
            lines = [_mark(_BUTTON), _headline(wording.page["press"])]
            lines.append(_paragraph("told", wording.page["what-for"]))
        case StateWord.WAITING if model.is_withheld:
            note = _paragraph("note", wording.page["withheld"])
            lines = [_mark(_BUSY), _headline(wording.states[model.state]), note, *_notes(model, wording)]
        case StateWord.WAITING:
            # the code has just expired, and the loop has not published its next state yet
            lines = [_headline(wording.troubles[Trouble.EXPIRED].sentence)]
        case _:
            lines = [_mark(_BUSY), _headline(wording.states[model.state]), *_notes(model, wording)]
    return "\n".join(lines)


def _linked(model: PageModel, wording: Wording) -> list[str]:
    words = wording.page
    headline = wording.moments["just-linked"] if model.is_new else wording.states[model.state]
    lines = [_mark(_GOOD), _headline(headline)]
    if model.account:
        lines.append(_paragraph("told", words["account"], account=model.account))
    if not model.lasts:
        lines.append(_paragraph("note", wording.moments["for-now"]))
    if model.is_new:
        lines += [_paragraph("note", words["undo"]), _paragraph("quiet", words["may-close"])]
    return [*lines, *_notes(model, wording)]


def _notes(model: PageModel, wording: Wording) -> list[str]:
    if model.is_checking:
        return [_paragraph("note", wording.moments["checking-again"])]
    trouble = wording.troubles.get(model.trouble)
    return [] if trouble is None else [_paragraph("note", f"{trouble.sentence} {trouble.next_step}")]


def _notice(model: PageModel, wording: Wording) -> str:
    return wording.moments[model.notice] if model.notice else ""


def _headline(text: str) -> str:
    return f'<h1 class="sole">{escape(text)}</h1>'


def _paragraph(kind: str, text: str, **strong: str) -> str:
    values = {name: f'<strong dir="auto">{escape(value)}</strong>' for name, value in strong.items()}
    return f'<p class="{kind}">{escape(text).format(**values)}</p>'


def _mark(path: str, kind: str = "") -> str:
    return f'<svg class="mark {kind}" viewBox="0 0 24 24" aria-hidden="true"><path d="{path}"/></svg>'


def _breakable(address: str) -> str:
    """Allow line breaks in an address after its slashes."""
    return escape(address).replace("/", "/<wbr>")


def _timer(left: int | None) -> str:
    text = "" if left is None else minutes_of(left)
    return f'<span id="left" role="timer" aria-live="off" dir="ltr">{text}</span>'


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


def _write_policy(style: str, script: str = "") -> str:
    """Return the content security policy: only a page's own style, script and events.

    Source: CSP Level 3 §2.3.1, "hash-source".
    """
    scripts = f" script-src '{_hash_of(script)}'; connect-src 'self';" if script else ""
    return (
        f"default-src 'none'; style-src '{_hash_of(style)}';{scripts}"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash_of(name: str) -> str:
    return f"sha256-{b64encode(sha256(read_static(name).encode()).digest()).decode()}"
