"""Every voice keeps the same promises: real programs, a simulated one, and programs that hang, fail or tell tales."""

import os
import select
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import pytest

from device_auth.prompts.wording import (
    LANGUAGES,
    Wording,
    code_words,
    notice_words,
    read_wording,
    state_words,
    trouble_words,
    waiting_words,
)
from hardware.board import open_voice
from hardware.errors import HardwareError, PartBusy, PartMissing
from hardware.espeak import CommandVoice, EspeakVoice, RecordedVoice, _espeaks_voice, as_ssml
from hardware.plans import read_voice
from hardware.simulated import SimulatedVoice
from hardware.sound import Sound, read_sound
from hardware.voice import Utterance, Voice
from tests.waiting import LONG, given_time

HELLO = (Utterance("Hello", "en", 0.0, "hello"), Utterance("again", "en-GB", 0.0, "again"))
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")

PLAYS = 'cat > "$1/played"'
HANGS_ONCE = """
if mkdir "$1/has-hung" 2>/dev/null; then
    exec 3> "$1/alive"
    echo begun >&3
    sleep 3600 &
    wait
fi
cat > "$1/played"
"""
"""The first run hangs with a child of its own, both holding the pipe open until they are killed."""


def program(folder: Path, script: str) -> list[str]:
    return ["sh", "-c", script, "program", str(folder)]


class Life:
    """A pipe that the hanging program and its child hold open for as long as they live."""

    def __init__(self, folder: Path) -> None:
        os.mkfifo(folder / "alive")
        self.pipe = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)

    def has_begun(self) -> bool:
        """Return whether a program that is killed by now had begun."""
        return bool(select.select([self.pipe], [], [], 0)[0]) and self.begins()

    def begins(self) -> bool:
        return self._hear() == b"begun\n"

    def ends(self) -> bool:
        return self._hear() == b""

    def _hear(self) -> bytes | None:
        return os.read(self.pipe, 100) if select.select([self.pipe], [], [], LONG)[0] else None


@dataclass
class Speaking:
    """A voice whose first speech hangs; ``heard`` tells whether anything was played to its end."""

    voice: Voice
    begins: Callable[[], bool]
    ends: Callable[[], bool]
    heard: Callable[[], bool]
    first: Sequence[Utterance] = HELLO
    answers: list[bool] = field(default_factory=list)

    @contextmanager
    def hanging(self) -> Iterator[Thread]:
        """Let the voice hang on a thread of its own."""
        thread = Thread(target=lambda: self.answers.append(self.voice.say(self.first)))
        thread.start()
        try:
            assert self.begins()
            yield thread
        finally:
            self.voice.close()
            thread.join(LONG)
            assert not thread.is_alive()


def recordings(folder: Path) -> Path:
    for language, name in (("en", "hello"), ("en", "again")):
        (folder / "recordings" / language).mkdir(parents=True, exist_ok=True)
        (folder / "recordings" / language / f"{name}.wav").write_bytes(
            Sound(8000, 1, b"\x00\x10" * 800).as_wav()
        )
    return folder / "recordings"


@pytest.fixture(params=[pytest.param("espeak", marks=needs_espeak), "command", "recorded", "simulated"])
def speaking(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Speaking]:
    if request.param == "simulated":
        begun = Event()
        simulated = SimulatedVoice(seconds_a_character=1e-9, listen=lambda _: begun.set())
        yield Speaking(
            simulated,
            lambda: begun.wait(LONG),
            lambda: True,
            lambda: simulated.spoken[-2:] == list(HELLO),
            first=[Utterance("an hour of silence", "en", 3600)],
        )
        simulated.close()
        return
    life = Life(tmp_path)
    command = program(tmp_path, HANGS_ONCE)
    voice: Voice
    match request.param:
        case "espeak":
            voice = EspeakVoice(player=command)
        case "command":
            voice = CommandVoice(command=command)
        case _:
            voice = RecordedVoice(directory=recordings(tmp_path), player=command)
    yield Speaking(voice, life.begins, life.ends, (tmp_path / "played").exists)
    voice.close()
    os.close(life.pipe)


def test_a_stopped_voice_is_silent_at_once_with_all_its_programs(speaking: Speaking) -> None:
    with speaking.hanging() as thread:
        speaking.voice.stop()
        thread.join(LONG)

        assert speaking.answers == [False]
        assert speaking.ends()
        assert not speaking.heard()


def test_a_stopped_voice_can_speak_again(speaking: Speaking) -> None:
    with speaking.hanging():
        speaking.voice.stop()

        assert speaking.voice.say(HELLO)
        assert speaking.heard()


def test_the_newest_speech_silences_the_one_before(speaking: Speaking) -> None:
    with speaking.hanging() as thread:
        assert speaking.voice.say(HELLO)
        thread.join(LONG)
        assert speaking.answers == [False]
        assert speaking.ends()
        assert speaking.heard()


def test_a_closed_voice_says_nothing_ever_after(speaking: Speaking) -> None:
    with speaking.hanging() as thread:
        speaking.voice.close()
        thread.join(LONG)

        assert speaking.voice.say(HELLO) is False
        assert speaking.answers == [False]
        assert not speaking.heard()


def test_silence_can_be_stopped(speaking: Speaking) -> None:
    speaking.voice.stop()
    speaking.voice.stop()


def test_recordings_are_joined_with_their_pauses_and_made_softer(tmp_path: Path) -> None:
    voice = RecordedVoice(directory=recordings(tmp_path), player=program(tmp_path, PLAYS), volume=25)
    spoken = voice.say([Utterance("Hello", "en-GB", 0.5, "hello"), Utterance("again", "en", 0, "again")])
    played = read_sound((tmp_path / "played").read_bytes())

    assert spoken
    assert played.seconds == pytest.approx(0.7)
    assert played.peak == 0x1000 // 2


def test_a_recording_that_is_missing_is_an_error_that_does_not_spell_the_code(tmp_path: Path) -> None:
    voice = RecordedVoice(directory=recordings(tmp_path), player=program(tmp_path, PLAYS))

    with pytest.raises(PartMissing, match="a recording is missing in") as missing:
        voice.say(code_words(read_wording("en"), "Q7"))

    assert "Q" not in str(missing.value).replace(str(tmp_path), "")
    assert not (tmp_path / "played").exists()


@pytest.mark.parametrize("name", ["", "../hello", "a/b", ".."])
def test_no_name_leads_out_of_the_folder_of_recordings(tmp_path: Path, name: str) -> None:
    voice = RecordedVoice(directory=recordings(tmp_path), player=program(tmp_path, PLAYS))

    with pytest.raises(HardwareError, match="no name"):
        voice.say([Utterance("hello", "en", 0, name)])


@pytest.mark.parametrize("language", ["", "../en", "-h", "en US", "e", "en/..", "en-"])
def test_what_is_no_language_never_becomes_an_argument_or_a_folder(tmp_path: Path, language: str) -> None:
    for voice in (
        RecordedVoice(directory=recordings(tmp_path), player=program(tmp_path, PLAYS)),
        CommandVoice(command=program(tmp_path, PLAYS)),
        EspeakVoice(player=program(tmp_path, PLAYS)),
    ):
        with pytest.raises(HardwareError, match="not a language tag"):
            voice.say([Utterance("hello", language, 0, "hello")])


def test_a_command_reads_the_text_and_is_told_language_and_volume(tmp_path: Path) -> None:
    command = [
        "sh",
        "-c",
        'echo "$2 $3" >> "$1/played"; cat >> "$1/played"',
        "x",
        str(tmp_path),
        "{language}",
        "{volume}",
    ]
    voice = CommandVoice(command=command, volume=70)

    assert voice.say(HELLO)
    assert (tmp_path / "played").read_text().splitlines() == ["en 70", "Hello", "en-GB 70", "again"]


def test_a_command_is_not_given_a_secret_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("X_CLIENT_SECRET", "CANARY")
    monkeypatch.setenv("X_SERVER", "kitchen")
    voice = CommandVoice(command=["sh", "-c", 'env > "$1/environment"', "x", str(tmp_path)])

    assert voice.say(HELLO[:1])
    given = (tmp_path / "environment").read_text()
    assert "X_SERVER=kitchen" in given
    assert "CANARY" not in given


def test_a_command_is_stopped_in_a_pause_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    voice = CommandVoice(command=["sh", "-c", 'cat > "$1/fifo"', "x", str(tmp_path)])
    answers: list[bool] = []
    thread = Thread(target=lambda: answers.append(voice.say([Utterance("one", "en", 3600), *HELLO])))
    thread.start()
    first = (tmp_path / "fifo").read_text()
    voice.stop()
    thread.join(LONG)

    assert first == "one\n"
    assert answers == [False]


@pytest.fixture
def own_espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], EspeakVoice]:
    """Put a program of the test in the place of espeak-ng."""

    def install(script: str, *, timeout: float = 20) -> EspeakVoice:
        (tmp_path / "espeak-ng").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "espeak-ng").chmod(0o755)
        (tmp_path / "silence.wav").write_bytes(Sound(8000, 1, bytes(160)).as_wav())
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setenv("FOLDER", str(tmp_path))
        return EspeakVoice(player=program(tmp_path, PLAYS), volume=30, speed=120, timeout=timeout)

    return install


def test_what_is_said_is_given_by_standard_input_and_never_as_an_argument(
    tmp_path: Path, own_espeak: Callable[[str], EspeakVoice]
) -> None:
    voice = own_espeak('echo "$@" >> "$FOLDER/arguments"; cat >> "$FOLDER/input"; cat "$FOLDER/silence.wav"')
    code = code_words(read_wording("de"), "QX7")

    assert voice.say(code)
    arguments = (tmp_path / "arguments").read_text()
    assert arguments == "-m -b 1 -a 60 -s 120 --stdin --stdout -v de-DE\n"
    assert (tmp_path / "input").read_text() == as_ssml(code)
    assert "Quickborn" in as_ssml(code)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "arguments", "espeak-ng", "input", "played", "silence.wav",
    ]  # fmt: skip


def test_a_synthesiser_that_fails_does_not_tell_what_it_was_given(
    own_espeak: Callable[[str], EspeakVoice],
) -> None:
    voice = own_espeak("cat >&2; exit 1")

    with pytest.raises(HardwareError, match="espeak-ng ended with status 1") as failed:
        voice.say([Utterance("Foxtrot", "en")])

    assert "Foxtrot" not in str(failed.value) + failed.value.hint


def test_a_command_that_fails_does_not_tell_what_it_was_given(tmp_path: Path) -> None:
    voice = CommandVoice(command=program(tmp_path, "cat >&2; exit 1"))

    with pytest.raises(HardwareError, match=r"sh ended with status 1$"):
        voice.say([Utterance("Foxtrot", "en")])


def test_a_synthesiser_that_hangs_is_killed_after_its_time(
    tmp_path: Path, own_espeak: Callable[..., EspeakVoice]
) -> None:
    life = Life(tmp_path)

    def hang(seconds: float) -> bool:
        voice = own_espeak('exec 3> "$FOLDER/alive"; echo begun >&3; sleep 3600 & wait', timeout=seconds)
        with pytest.raises(PartBusy, match="espeak-ng did not end"):
            voice.say(HELLO)
        return life.has_begun()

    assert given_time(hang, bool, 0.3)
    assert life.ends()
    os.close(life.pipe)


def test_a_voice_stopped_while_it_makes_the_sound_plays_nothing(
    tmp_path: Path, own_espeak: Callable[[str], EspeakVoice]
) -> None:
    life = Life(tmp_path)
    voice = own_espeak('exec 3> "$FOLDER/alive"; echo begun >&3; sleep 3600 & wait')
    speaking = Speaking(voice, life.begins, life.ends, (tmp_path / "played").exists)
    with speaking.hanging() as thread:
        voice.stop()
        thread.join(LONG)

    assert speaking.answers == [False]
    assert not speaking.heard()
    assert voice.render(HELLO).seconds == 0
    os.close(life.pipe)


def test_a_player_that_hangs_is_killed_after_the_length_of_the_sound(tmp_path: Path) -> None:
    life = Life(tmp_path)
    sounds, player = recordings(tmp_path), program(tmp_path, HANGS_ONCE)

    def hang(seconds: float) -> bool:
        shutil.rmtree(tmp_path / "has-hung", ignore_errors=True)
        with pytest.raises(PartBusy, match="sh did not end within"):
            RecordedVoice(directory=sounds, player=player, timeout=seconds).say(HELLO)
        return life.has_begun()

    assert given_time(hang, bool, 0.3)
    assert life.ends()
    os.close(life.pipe)


@pytest.mark.parametrize(
    ("script", "expected", "said"),
    [
        (
            "echo 'audio open error: Device or resource busy' >&2; exit 1",
            PartBusy,
            "the sound card is in use",
        ),
        ("echo 'no soundcards found' >&2; exit 3", HardwareError, "status 3: no soundcards found"),
        ("exit 4", HardwareError, "sh ended with status 4"),
    ],
)
def test_a_player_that_fails_is_an_error_with_its_complaint(
    tmp_path: Path, script: str, expected: type[HardwareError], said: str
) -> None:
    voice = RecordedVoice(directory=recordings(tmp_path), player=program(tmp_path, script))

    with pytest.raises(expected, match=said) as failed:
        voice.say(HELLO)

    assert failed.value.hint


def test_a_recording_that_cannot_be_read_is_an_error_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "en" / "hello.wav").mkdir(parents=True)
    voice = RecordedVoice(directory=tmp_path, player=program(tmp_path, PLAYS))

    with pytest.raises(PartMissing, match=r"cannot read a recording in .*: Is a directory"):
        voice.say(HELLO)


def test_a_player_that_may_not_be_executed_is_an_error_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "player").touch(mode=0o600)

    with pytest.raises(PartMissing, match=r"cannot start .*: Permission denied"):
        RecordedVoice(directory=recordings(tmp_path), player=[str(tmp_path / "player")]).say(HELLO)


def test_a_player_that_is_gone_is_named_with_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = {"kind": "recorded", "directory": str(tmp_path)}
    with pytest.raises(PartMissing, match="aplay") as missing:
        open_voice(read_voice(settings))
    with pytest.raises(PartMissing, match="aplay"):
        RecordedVoice(directory=recordings(tmp_path), player=["aplay"]).say(HELLO)

    assert "apt install alsa-utils" in missing.value.hint


def test_a_synthesiser_that_is_not_there_is_named_with_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PartMissing, match="espeak-ng") as missing:
        open_voice(read_voice({"kind": "espeak", "player": ["/bin/sh"]}))

    assert "apt install espeak-ng" in missing.value.hint


def test_voices_are_opened_with_their_settings(
    tmp_path: Path, own_espeak: Callable[[str], EspeakVoice]
) -> None:
    own_espeak('cat "$FOLDER/silence.wav"')
    player = program(tmp_path, PLAYS)

    assert isinstance(open_voice(read_voice({"kind": "espeak", "player": player})), EspeakVoice)
    assert isinstance(open_voice(read_voice({"kind": "command", "command": player})), CommandVoice)
    assert isinstance(
        open_voice(read_voice({"kind": "recorded", "player": player, "directory": str(tmp_path)})),
        RecordedVoice,
    )
    with pytest.raises(PartMissing, match="folder of recordings"):
        open_voice(read_voice({"kind": "recorded", "player": player, "directory": str(tmp_path / "none")}))


def test_signs_that_mean_something_in_ssml_are_told_as_text() -> None:
    assert (
        as_ssml([Utterance("a<b>&c", "en", 0.25)])
        == '<speak><s>a&lt;b&gt;&amp;c</s><break time="250ms"/></speak>'
    )


def test_espeak_is_given_what_it_reads_rightly_and_a_command_what_people_read(tmp_path: Path) -> None:
    told = Utterance("音声", "ja-JP", 0.25, reading="おんせい")
    voice = CommandVoice(command=program(tmp_path, PLAYS))
    voice.say([told])

    assert as_ssml([told]) == '<speak><s>おんせい</s><break time="250ms"/></speak>'
    assert (tmp_path / "played").read_text() == "音声\n"


@pytest.mark.parametrize(
    ("locale", "voice"),
    [
        ("es-US", "es-419"),
        ("es-MX", "es-419"),
        ("es-419", "es-419"),
        ("es-ES", "es-ES"),
        ("es", "es"),
        ("fr-CA", "fr-CA"),
    ],
)
def test_espeak_speaks_all_of_americas_spanish_without_a_lisp(locale: str, voice: str) -> None:
    assert _espeaks_voice(locale) == voice


@pytest.fixture(params=LANGUAGES)
def wording(request: pytest.FixtureRequest) -> Wording:
    return read_wording(request.param)


@pytest.mark.slow
@needs_espeak
def test_every_phrase_is_heard_and_ends(wording: Wording, tmp_path: Path) -> None:
    voice = EspeakVoice(player=program(tmp_path, PLAYS))
    speeches = [state_words(wording, state) for state in wording.states]
    speeches += [notice_words(wording, moment) for moment in wording.moments]
    speeches += [trouble_words(wording, trouble) for trouble in wording.troubles]
    for speech in speeches:
        sound = voice.render(speech)

        assert sound.peak > 5000
        assert 0.5 < sound.seconds < 20


@pytest.mark.slow
@needs_espeak
def test_a_whole_speech_with_a_code_is_played_from_its_first_to_its_last_sound(
    wording: Wording, tmp_path: Path
) -> None:
    voice = EspeakVoice(player=program(tmp_path, PLAYS))
    speech = waiting_words(wording, "O0I1B8", "https://amazon.com/us/code")

    assert voice.say(speech)
    played = read_sound((tmp_path / "played").read_bytes())
    assert played.peak > 5000
    assert sum(utterance.pause for utterance in speech) < played.seconds < 120


@needs_espeak
def test_pauses_are_as_long_as_asked_for(tmp_path: Path) -> None:
    voice = EspeakVoice(player=program(tmp_path, PLAYS))
    short, long = (voice.render([Utterance("F", "en", pause), *HELLO]).seconds for pause in (1.0, 3.0))

    assert long - short == pytest.approx(2, abs=0.1)


@needs_espeak
def test_a_language_without_a_voice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HardwareError, match="espeak-ng ended with status 1"):
        EspeakVoice(player=program(tmp_path, PLAYS)).say([Utterance("hello", "zz")])
