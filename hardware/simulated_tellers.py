"""A simulated panel and a simulated voice: they ship, and do what the real ones do without a device."""

from collections.abc import Callable, Sequence

from hardware.panel import OLED_WIDTH, Layout, Picture, Shown, largest_qr, lay_out
from hardware.voice import SpeakingTurn, Utterance


class SimulatedPanel:
    """An OLED panel of 128 pixels without the panel: ``layout`` is what would be lit now.

    Args:
        height: 64 or 32 pixels.
        watch: is told each frame that would be sent, and None when the panel goes dark.
    """

    def __init__(
        self, *, height: int = 64, watch: Callable[[Picture | None, Shown], None] | None = None
    ) -> None:
        self._height = height
        self._watch = watch
        self.layout: Layout | None = None
        self.frames = 0

    @property
    def largest_qr(self) -> int:
        """The most modules a side that a QR code may have to be shown here; 0 when none can be."""
        return largest_qr(self._height)

    def show(self, picture: Picture) -> Shown:
        """Show a picture in place of the one before; say what of it can be seen."""
        layout = lay_out(picture, OLED_WIDTH, self._height)
        if layout != self.layout:
            self._send(layout, picture)
        return layout.shown

    def clear(self) -> None:
        """Show nothing."""
        if self.layout is not None:
            self._send(None, None)

    def close(self) -> None:
        """Show nothing."""
        self.clear()

    def _send(self, layout: Layout | None, picture: Picture | None) -> None:
        self.layout = layout
        self.frames += 1
        if self._watch is not None:
            self._watch(picture, layout.shown if layout else Shown(text=False, qr=False))


class SimulatedVoice:
    """A voice without sound: ``spoken`` is what a person would have heard so far.

    Args:
        seconds_a_character: how slowly it speaks; 0 keeps no pauses either.
        listen: is told each utterance when it begins.
    """

    def __init__(
        self, *, seconds_a_character: float = 0.0, listen: Callable[[Utterance], None] | None = None
    ) -> None:
        self._pace = seconds_a_character
        self._listen = listen
        self._floor = SpeakingTurn()
        self.spoken: list[Utterance] = []

    def say(self, utterances: Sequence[Utterance]) -> bool:
        """Say these in place of what is being said; False when stopped, or talked over, before the end."""
        turn = self._floor.take()
        for utterance in utterances:
            if not self._floor.has(turn):
                return False
            self.spoken.append(utterance)
            if self._listen is not None:
                self._listen(utterance)
            if self._pace and not self._floor.pause(turn, len(utterance.text) * self._pace + utterance.pause):
                return False
        return self._floor.has(turn)

    def stop(self) -> None:
        """Fall silent at once."""
        self._floor.clear()

    def close(self) -> None:
        """Fall silent and say nothing ever after."""
        self._floor.close()
