"""Sound is read, joined with silence, made louder or softer."""

import struct
import wave
from io import BytesIO

import pytest

from hardware.errors import HardwareError
from hardware.sound import Sound, join, read_sound


def tone(seconds: float = 0.1, rate: int = 8000, channels: int = 1, level: int = 1000) -> Sound:
    return Sound(rate, channels, struct.pack("<h", level) * round(seconds * rate * channels))


def test_a_sound_written_is_read_again() -> None:
    assert read_sound(tone(channels=2).as_wav()) == tone(channels=2)


def test_a_length_that_the_header_gives_wrongly_is_no_error() -> None:
    wav = bytearray(tone().as_wav())
    wav[4:8] = wav[40:44] = struct.pack("<I", 0x7FFFF000)

    assert read_sound(bytes(wav)) == tone()


def test_half_a_sample_at_the_end_is_left_out() -> None:
    assert read_sound(tone().as_wav()[:-1]).seconds == pytest.approx(0.1 - 1 / 8000)


@pytest.mark.parametrize("junk", [b"", b"RIFF", b"no wav at all", tone().as_wav()[:30]])
def test_what_is_no_wav_file_is_refused(junk: bytes) -> None:
    with pytest.raises(HardwareError, match="as a WAV file"):
        read_sound(junk)


def test_other_widths_than_16_bits_are_refused() -> None:
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(1)
        writer.setframerate(8000)
        writer.writeframes(b"\x80" * 8)

    with pytest.raises(HardwareError, match="8 bits"):
        read_sound(file.getvalue())


def test_joined_sounds_last_as_long_as_all_with_their_pauses() -> None:
    joined = join([(tone(0.1), 0.5), (tone(0.2), -1)])

    assert joined.seconds == pytest.approx(0.8)
    assert joined.frames[: len(tone(0.1).frames)] == tone(0.1).frames
    assert not any(joined.frames[len(tone(0.1).frames) : -len(tone(0.2).frames)])


def test_nothing_joined_is_no_sound() -> None:
    assert join([]).seconds == 0
    assert join([]).peak == 0


@pytest.mark.parametrize("other", [tone(rate=16000), tone(channels=2)])
def test_sounds_of_different_kind_are_not_joined(other: Sound) -> None:
    with pytest.raises(HardwareError, match="cannot be joined"):
        join([(tone(), 0), (other, 0)])


@pytest.mark.parametrize(("factor", "peak"), [(0, 0), (0.5, 500), (1, 1000), (2, 2000), (100, 32767)])
def test_a_sound_is_made_louder_and_softer_and_never_wraps_round(factor: float, peak: int) -> None:
    assert tone().times(factor).peak == peak
    assert tone(level=-1000).times(factor).peak == (32768 if factor == 100 else peak)
