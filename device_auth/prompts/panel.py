"""The panel: the QR code with the user code and the time left; for anything else a word or two, for a while.

All but a code goes dark after a while, because the pixels of an OLED wear out; a tap brings it back.
"""

import logging
import unicodedata
from math import ceil
from typing import TYPE_CHECKING, Final

from device_auth.core.errors import DeviceAuthError
from device_auth.core.models import Monotonic, Seconds, later
from device_auth.core.states import StateWord, Trouble
from device_auth.prompts.view_changes import JUST_LINKED_FOR
from hardware.errors import PartBusy
from hardware.panel import Picture, Shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from device_auth.core.models import CodePair, View
    from device_auth.prompts.wording import Wording
    from hardware.panel import Matrix, Panel

    DrawCode = Callable[[str, Literal["L", "M"]], Matrix]
    """Returns the modules of a text's QR code, without the quiet zone, at a level of error correction."""

WORD_STAYS_FOR: Final = Seconds(60)

TRY_AGAIN_AFTER: Final = Seconds(5)
"""How long to leave a panel alone that does not answer."""

log: Final = logging.getLogger(__name__)


class PanelPrompt:
    """Tells on a small display.

    Args:
        panel: the display.
        wording: the language of the words.
        draw_code: returns the QR code; may raise ``DeviceAuthError``.
    """

    name: Final = "panel"

    def __init__(self, panel: "Panel", wording: "Wording", *, draw_code: "DrawCode") -> None:
        self._panel = panel
        self._wording = wording
        self._draw_code = draw_code
        self._logged: set[str] = set()
        self._view: View | None = None
        self._dark_at = Monotonic(0.0)
        self._drawn: tuple[CodePair, Matrix | None] | None = None

    def show(self, view: "View", now: Monotonic) -> Monotonic | None:
        """Show a view; return the moment at which to show it again."""
        if view != self._view:
            self._view = view
            self._dark_at = later(now, JUST_LINKED_FOR if _is_well(view) else WORD_STAYS_FOR)
        try:
            if view.state is StateWord.WAITING and view.code_pair is not None:
                return self._show_code(view.code_pair, now)
            return self._show_word(view, now)
        except PartBusy as error:
            log.info("the panel: %s", error)
            return later(now, TRY_AGAIN_AFTER)

    def close(self) -> None:
        """Show nothing."""
        self._panel.clear()

    def _show_code(self, pair: "CodePair", now: Monotonic) -> Monotonic | None:
        seconds_left = max(0, ceil(round(pair.expires_at - now, 3)))
        self._log_reason(
            self._panel.show(
                Picture(
                    pair.user_code,
                    self._matrix_of(pair),
                    pair.verification_uri.partition("://")[2],
                    seconds_left,
                )
            )
        )
        return Monotonic(pair.expires_at - (seconds_left - 1)) if seconds_left else None

    def _show_word(self, view: "View", now: Monotonic) -> Monotonic | None:
        self._drawn = None
        if now >= self._dark_at:
            self._panel.clear()
            return None
        name = view.state if view.trouble is Trouble.NONE else view.trouble
        word = self._wording.short["for-now" if _is_well(view) and view.doubt else name]
        if _is_well(view) and view.account_name:
            named = self._show_text(f"{word}: {view.account_name}")
            if named.text:
                return self._dark_at
        self._log_reason(self._show_text(word))
        if view.state is StateWord.REQUESTING:
            self._make_matrix("")  # what draws is loaded while the code is requested
        return self._dark_at

    def _show_text(self, text: str) -> Shown:
        """Show a text, without its accents if the panel has no such letters."""
        shown = self._panel.show(Picture(text, is_prose=True))
        return shown if shown.text else self._panel.show(Picture(without_accents(text), is_prose=True))

    def _matrix_of(self, pair: "CodePair") -> "Matrix | None":
        """Return the QR code of a pair, drawn once: at level M, which is read best when blurred, or else at L."""
        if self._drawn is None or self._drawn[0] != pair:
            self._drawn = (pair, self._make_matrix(pair.prefilled_uri or pair.verification_uri))
        return self._drawn[1]

    def _make_matrix(self, address: str) -> "Matrix | None":
        try:
            matrix = self._draw_code(address, "M")
            if len(matrix) > self._panel.largest_qr:
                matrix = self._draw_code(address, "L")
        except DeviceAuthError as error:
            self._log_once(str(error))
            return None
        return matrix

    def _log_reason(self, shown: Shown) -> None:
        if shown.reason:
            self._log_once(shown.reason)

    def _log_once(self, reason: str) -> None:
        """Log why something could not be shown, each reason once; none holds a code."""
        if reason not in self._logged:
            self._logged.add(reason)
            log.warning("the panel: %s", reason)


def without_accents(text: str) -> str:
    """Return a text in the letters of every panel."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(character for character in parts if not unicodedata.combining(character))


def _is_well(view: "View") -> bool:
    return view.state is StateWord.LINKED and view.trouble is Trouble.NONE
