"""Sound in WAV files: read, joined with silence between, made louder or softer. Pure."""

from __future__ import annotations

import sys
import wave
from array import array
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import TYPE_CHECKING, Final

from hardware.errors import HardwareError

if TYPE_CHECKING:
    from collections.abc import Iterable

SAMPLE_BYTES: Final = 2
"""Bytes of one sample: 16 bits, signed, the only width that can be read here."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples of 16 bits, little-endian, the channels taking turns."""

    rate: int
    channels: int
    frames: bytes = field(repr=False)

    @property
    def seconds(self) -> float:
        """Return its length."""
        return len(self.frames) / (self.rate * self.channels * SAMPLE_BYTES)

    @property
    def peak(self) -> int:
        """Return the loudest sample, 0 (silence) to 32768."""
        samples = _samples(self.frames)
        return max(abs(max(samples)), abs(min(samples))) if samples else 0

    def as_wav(self) -> bytes:
        """Return it as a WAV file."""
        file = BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((self.channels, SAMPLE_BYTES, self.rate, 0, "NONE", "not compressed"))
            writer.writeframes(self.frames)
        return file.getvalue()

    def times(self, factor: float) -> Sound:
        """Return it louder or softer; samples that are too loud are cut off."""
        if factor == 1:
            return self
        scaled = array(
            "h", (max(-32768, min(32767, round(sample * factor))) for sample in _samples(self.frames))
        )
        return replace(self, frames=_in_file_order(scaled).tobytes())


def read_sound(wav: bytes) -> Sound:
    """Read a WAV file; a wrong length in its header, as in one written to a pipe, is not an error.

    Raises:
        HardwareError: if it is not a WAV file of 16 bits.
    """
    try:
        with wave.open(BytesIO(wav), "rb") as reader:
            rate, channels, width = reader.getframerate(), reader.getnchannels(), reader.getsampwidth()
            frames = reader.readframes(reader.getnframes())
    except (wave.Error, EOFError) as unreadable:
        raise HardwareError(
            f"cannot read a sound as a WAV file: {unreadable}", hint="Save it as WAV, 16 bits."
        ) from unreadable
    if width != SAMPLE_BYTES:
        raise HardwareError(f"a sound has {8 * width} bits a sample", hint="Save it as WAV, 16 bits.")
    whole = len(frames) - len(frames) % (channels * SAMPLE_BYTES)
    return Sound(rate, channels, frames[:whole])


def join(parts: Iterable[tuple[Sound, float]]) -> Sound:
    """Return sounds one after another, each followed by its seconds of silence.

    Raises:
        HardwareError: if they differ in rate or channels.
    """
    first: Sound | None = None
    frames = bytearray()
    for sound, pause in parts:
        first = first or sound
        if (sound.rate, sound.channels) != (first.rate, first.channels):
            raise HardwareError(
                f"sounds of {sound.rate} Hz × {sound.channels} and {first.rate} Hz × {first.channels} cannot be joined",
                hint="Save every recording with one rate and one number of channels.",
            )
        frames += sound.frames + bytes(round(sound.rate * max(0.0, pause)) * sound.channels * SAMPLE_BYTES)
    return replace(first, frames=bytes(frames)) if first else Sound(22050, 1, b"")


def _samples(frames: bytes) -> array[int]:
    return _in_file_order(array("h", frames))


def _in_file_order(samples: array[int]) -> array[int]:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples
