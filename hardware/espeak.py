"""Voices made of programs: espeak-ng and a player, a command that speaks by itself, a player of recordings.

Text and sound go to the programs by standard input and come back by standard output: nothing that is said ever
stands in an argument, where every user of the machine could read it, or in a file.
"""

import os
import signal
import subprocess  # noqa: TID251 - voices are other people's programs
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from itertools import groupby
from pathlib import Path
from re import fullmatch
from shutil import which
from threading import Lock
from typing import Final

from hardware.errors import HardwareError, PartBusy, PartMissing
from hardware.plans import CommandPlan, EspeakPlan, RecordedPlan
from hardware.sound import Sound, join, read_sound
from hardware.voice import SpeakingTurn, Utterance

ESPEAK: Final = "espeak-ng"
PATIENCE: Final = 20.0
"""Seconds that a program may take beyond the length of what it plays: the slowest Pi, its card asleep."""

_PACKAGES: Final = {ESPEAK: "espeak-ng", "aplay": "alsa-utils"}
_SECONDS_A_CHARACTER: Final = 0.5
_TOLD: Final = 200
"""Bytes of a player's complaint that are passed on."""


class ProgramVoice(ABC):
    """One speaker at a time, each a program in a process group of its own that is killed at once when told."""

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._floor = SpeakingTurn()
        self._speaking = Lock()
        self._starting = Lock()
        self._program: subprocess.Popen[bytes] | None = None

    def say(self, utterances: Sequence[Utterance]) -> bool:
        """Say these in place of what is being said; False when stopped, or talked over, before the end.

        Raises:
            PartMissing: a program, a voice or a recording is not there.
            PartBusy: a program does not end, or the sound card is taken.
            HardwareError: a program fails.
        """
        turn = self._floor.take()
        self._kill()
        with self._speaking:
            return self._speak(turn, utterances)

    def stop(self) -> None:
        """Fall silent at once; nothing happens when nothing is being said."""
        self._floor.clear()
        self._kill()

    def close(self) -> None:
        """Fall silent and say nothing ever after."""
        self._floor.close()
        self._kill()

    @abstractmethod
    def _speak(self, turn: int, utterances: Sequence[Utterance]) -> bool:
        """Say these while the turn lasts."""

    def _run(
        self,
        turn: int,
        command: Sequence[str],
        given: bytes,
        seconds: float,
        complaints: int = subprocess.DEVNULL,
    ) -> bytes | None:
        """Run a program to its end and give its standard output; None when the turn is over before."""
        with self._starting:
            if not self._floor.has(turn):
                return None
            program = self._program = _start(command, complaints)
        try:
            output, _ = program.communicate(given, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise PartBusy(
                f"{command[0]} did not end within {seconds:.0f} s", hint="Try it by hand."
            ) from None
        finally:
            # Also on the way out of an error: whatever happens, no program outlives its turn.
            self._end(program)
        if not self._floor.has(turn):
            return None
        if program.returncode:
            raise _failure(command[0], program.returncode, complaints)
        return output

    def _play(self, turn: int, player: Sequence[str], sound: Sound) -> bool:
        # Only a player may complain: it was given sound. Others could repeat the text, so theirs goes nowhere.
        complaints = os.memfd_create("complaints")
        try:
            return (
                self._run(turn, player, sound.as_wav(), sound.seconds + self._patience, complaints)
                is not None
            )
        finally:
            os.close(complaints)

    def _kill(self) -> None:
        with self._starting:
            if self._program is not None:
                _kill_group(self._program)

    def _end(self, program: subprocess.Popen[bytes]) -> None:
        with self._starting:
            _kill_group(program)
            self._program = None
        program.wait()
        for pipe in (program.stdin, program.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


class EspeakVoice(ProgramVoice):
    """espeak-ng makes the sound, a player plays it.

    The whole speech is one run, the pauses told as SSML: a start of espeak-ng takes longer than its words.
    """

    def __init__(
        self, *, player: Sequence[str], volume: int = 50, speed: int = 150, patience: float = PATIENCE
    ) -> None:
        super().__init__(patience=patience)
        self._player = player
        how = f"-m -b 1 -a {2 * volume} -s {speed} --stdin --stdout"
        self._command = (ESPEAK, *how.split())

    def _speak(self, turn: int, utterances: Sequence[Utterance]) -> bool:
        sound = self._render(turn, utterances)
        return sound is not None and self._play(turn, self._player, sound)

    def render(self, utterances: Sequence[Utterance]) -> Sound:
        """Make the sound of these without playing it."""
        with self._speaking:
            return self._render(self._floor.take(), utterances) or join(())

    def _render(self, turn: int, utterances: Sequence[Utterance]) -> Sound | None:
        parts = []
        for language, group in groupby(utterances, key=lambda utterance: utterance.language):
            command = (*self._command, "-v", _tag(language))
            wav = self._run(turn, command, as_ssml(tuple(group)).encode(), self._patience)
            if wav is None:
                return None
            parts.append((read_sound(wav), 0.0))
        return join(parts)


def as_ssml(utterances: Sequence[Utterance]) -> str:
    """Write utterances as SSML, which knows pauses. Source: W3C SSML 1.1 §3.1.8, §3.2.3."""
    sentences = (
        f'<s>{escape(utterance.text, quote=False)}</s><break time="{round(1000 * utterance.pause)}ms"/>'
        for utterance in utterances
    )
    return f"<speak>{''.join(sentences)}</speak>"


class CommandVoice(ProgramVoice):
    """A command that speaks its standard input by itself, run once for each utterance."""

    def __init__(self, *, command: Sequence[str], volume: int = 50, patience: float = PATIENCE) -> None:
        super().__init__(patience=patience)
        self._command = command
        self._volume = volume

    def _speak(self, turn: int, utterances: Sequence[Utterance]) -> bool:
        for utterance in utterances:
            filled = {"{language}": _tag(utterance.language), "{volume}": str(self._volume)}
            command = [filled.get(word, word) for word in self._command]
            seconds = self._patience + len(utterance.text) * _SECONDS_A_CHARACTER
            if self._run(turn, command, f"{utterance.text}\n".encode(), seconds) is None:
                return False
            if not self._floor.pause(turn, utterance.pause):
                return False
        return True


class RecordedVoice(ProgramVoice):
    """Plays recordings, named LANGUAGE/NAME.wav below a directory; all of one rate and number of channels."""

    def __init__(
        self, *, directory: Path, player: Sequence[str], volume: int = 50, patience: float = PATIENCE
    ) -> None:
        super().__init__(patience=patience)
        self._directory = directory
        self._player = player
        self._factor = volume / 50

    def _speak(self, turn: int, utterances: Sequence[Utterance]) -> bool:
        sound = join((read_sound(self._recording(utterance)), utterance.pause) for utterance in utterances)
        return self._play(turn, self._player, sound.times(self._factor))

    def _recording(self, utterance: Utterance) -> bytes:
        tag = _tag(utterance.language)
        if not fullmatch(r"[\w-]+", utterance.name):
            raise HardwareError(
                "an utterance has no name that a recording could have", hint="Use another kind of voice."
            )
        for folder in (tag, tag.partition("-")[0]):
            with suppress(FileNotFoundError):
                return (self._directory / folder / f"{utterance.name}.wav").read_bytes()
        # The name is not told: letter by letter the names would spell what nobody but the owner should know.
        raise PartMissing(
            f"a recording is missing in {self._directory / tag}",
            hint="Compare the folder with the list of phrases.",
        )


def open_program_voice(plan: EspeakPlan | CommandPlan | RecordedPlan) -> ProgramVoice:
    """Open a voice that runs programs.

    Raises:
        PartMissing: if a program or the folder of recordings is missing.
    """
    if isinstance(plan, CommandPlan):
        _require(plan.command[0])
        return CommandVoice(command=plan.command, volume=plan.volume)
    _require(plan.player[0])
    if isinstance(plan, RecordedPlan):
        if not plan.directory.is_dir():
            raise PartMissing(
                f"there is no folder of recordings {plan.directory}", hint="Check voice.directory."
            )
        return RecordedVoice(directory=plan.directory, player=plan.player, volume=plan.volume)
    _require(ESPEAK)
    return EspeakVoice(player=plan.player, volume=plan.volume, speed=plan.speed)


def _require(program: str) -> None:
    if which(program) is None:
        raise _absent(program)


def _absent(program: str) -> PartMissing:
    package = _PACKAGES.get(program)
    hint = f"Install it: apt install {package}." if package else "Check the path and that it may be executed."
    return PartMissing(f"the program {program} is not there", hint=hint)


def _tag(language: str) -> str:
    """Let only a language tag through: it becomes an argument and the name of a folder. Source: RFC 5646 §2.1."""
    if not fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", language):
        raise HardwareError(f"{language!r} is no language", hint="Use a tag such as en or pt-BR.")
    return language


def _start(command: Sequence[str], complaints: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - the command is the administrator's setting; what is said is no part of it
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=_environment(),
            start_new_session=True,
        )
    except OSError as absent:
        raise _absent(command[0]) from absent


def _environment() -> dict[str, str]:
    """Return what a program needs to find the sound server, and none of the secrets that we may have been given."""
    return {name: value for name, value in os.environ.items() if "SECRET" not in name.upper()}  # noqa: TID251  inherited


def _kill_group(program: subprocess.Popen[bytes]) -> None:
    """Kill a program with its children, unless it has ended: a player is often a script around one."""
    if program.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)


def _failure(program: str, status: int, complaints: int) -> HardwareError:
    if complaints == subprocess.DEVNULL:
        return HardwareError(
            f"{program} ended with status {status}", hint="Check that it has a voice for the language."
        )
    said = " ".join(os.pread(complaints, _TOLD, 0).decode(errors="replace").split())
    if "busy" in said.lower():
        return PartBusy(
            f"the sound card is taken: {said}", hint="Use a player that shares it, such as pw-play or paplay."
        )
    return HardwareError(
        f"{program} ended with status {status}: {said}", hint="Try the player by hand; list cards: aplay -l."
    )
