"""Voices made of programs: espeak-ng and a player, a command that speaks by itself, a player of recordings.

Text and sound go to the programs by standard input and come back by standard output: no text is ever an argument,
which every user of the machine could read, or in a file.
"""

import os
import signal
import subprocess  # noqa: TID251 - these voices are programs; the only importer here
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

from hardware.errors import HardwareError, PartBusy, PartMissing, describe_end, explain
from hardware.plans import CommandPlan, EspeakPlan, RecordedPlan
from hardware.sound import Sound, join, read_sound
from hardware.voice import SpeakingTurns, Utterance

ESPEAK: Final = "espeak-ng"
PROGRAM_TIMEOUT_S: Final = 20.0
"""How much longer than its sound a program may take, on the slowest Pi with a sleeping sound card."""

_PACKAGES: Final = {ESPEAK: "espeak-ng", "aplay": "alsa-utils"}
_SECONDS_A_CHARACTER: Final = 0.5
_REPORTED_BYTES: Final = 200
"""How much of a player's error output is reported."""


class ProgramVoice(ABC):
    """One call speaks at a time; each program has a process group of its own, which ``stop`` kills at once."""

    def __init__(self, *, timeout: float = PROGRAM_TIMEOUT_S) -> None:
        self._timeout = timeout
        self._turns = SpeakingTurns()
        self._speaking = Lock()
        self._starting = Lock()
        self._program: subprocess.Popen[bytes] | None = None

    def say(self, utterances: Sequence[Utterance]) -> bool:
        """Speak these in place of any others; return False if stopped or replaced before the end.

        Raises:
            PartMissing: if a program, a voice or a recording is missing.
            PartBusy: if a program does not end, or the sound card is in use.
            HardwareError: if a program fails.
        """
        turn = self._turns.begin()
        self._kill()
        with self._speaking:
            return self._speak(turn, utterances)

    def stop(self) -> None:
        """Fall silent at once."""
        self._turns.end()
        self._kill()

    def close(self) -> None:
        """Fall silent for good."""
        self._turns.close()
        self._kill()

    @abstractmethod
    def _speak(self, turn: int, utterances: Sequence[Utterance]) -> bool:
        """Speak these while the turn lasts; return whether it lasted to the end."""

    def _run(
        self,
        turn: int,
        command: Sequence[str],
        given: bytes,
        seconds: float,
        errors: int = subprocess.DEVNULL,
    ) -> bytes | None:
        """Run a program to its end and return its standard output, or None if the turn ends before."""
        with self._starting:
            if not self._turns.lasts(turn):
                return None
            program = self._program = _start(command, errors)
        try:
            output, _ = program.communicate(given, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise PartBusy(
                f"{command[0]} did not end within {seconds:.0f} s", hint="Try it by hand."
            ) from None
        finally:
            # After an error too: no program outlives its turn.
            self._end(program)
        if not self._turns.lasts(turn):
            return None
        if program.returncode:
            raise _failure(command[0], program.returncode, errors)
        return output

    def _play(self, turn: int, player: Sequence[str], sound: Sound) -> bool:
        # A player was given sound only. The error output of other programs could repeat the text, so it is not kept.
        errors = os.memfd_create("errors")
        try:
            return self._run(turn, player, sound.as_wav(), sound.seconds + self._timeout, errors) is not None
        finally:
            os.close(errors)

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
    """espeak-ng makes the sound, and a player plays it.

    Utterances of one language are one run, with the pauses as SSML: espeak-ng takes longer to start than to speak.
    """

    def __init__(
        self, *, player: Sequence[str], volume: int = 50, speed: int = 150, timeout: float = PROGRAM_TIMEOUT_S
    ) -> None:
        super().__init__(timeout=timeout)
        self._player = player
        options = f"-m -b 1 -a {2 * volume} -s {speed} --stdin --stdout"
        self._command = (ESPEAK, *options.split())

    def _speak(self, turn: int, utterances: Sequence[Utterance]) -> bool:
        sound = self._render(turn, utterances)
        return sound is not None and self._play(turn, self._player, sound)

    def render(self, utterances: Sequence[Utterance]) -> Sound:
        """Return the sound of these without playing it."""
        with self._speaking:
            return self._render(self._turns.begin(), utterances) or join(())

    def _render(self, turn: int, utterances: Sequence[Utterance]) -> Sound | None:
        parts = []
        for language, group in groupby(utterances, key=lambda utterance: utterance.language):
            command = (*self._command, "-v", _espeaks_voice(_tag(language)))
            wav = self._run(turn, command, as_ssml(tuple(group)).encode(), self._timeout)
            if wav is None:
                return None
            parts.append((read_sound(wav), 0.0))
        return join(parts)


def as_ssml(utterances: Sequence[Utterance]) -> str:
    """Return utterances as SSML, which has pauses. Source: W3C SSML 1.1 §3.1.8, §3.2.3."""
    sentences = (
        f'<s>{escape(utterance.reading or utterance.text, quote=False)}</s><break time="{round(1000 * utterance.pause)}ms"/>'
        for utterance in utterances
    )
    return f"<speak>{''.join(sentences)}</speak>"


class CommandVoice(ProgramVoice):
    """A command that speaks its standard input, run once for each utterance."""

    def __init__(
        self, *, command: Sequence[str], volume: int = 50, timeout: float = PROGRAM_TIMEOUT_S
    ) -> None:
        super().__init__(timeout=timeout)
        self._command = command
        self._volume = volume

    def _speak(self, turn: int, utterances: Sequence[Utterance]) -> bool:
        for utterance in utterances:
            filled = {"{language}": _tag(utterance.language), "{volume}": str(self._volume)}
            command = [filled.get(word, word) for word in self._command]
            seconds = self._timeout + len(utterance.text) * _SECONDS_A_CHARACTER
            if self._run(turn, command, f"{utterance.text}\n".encode(), seconds) is None:
                return False
            if not self._turns.pause(turn, utterance.pause):
                return False
        return True


class RecordedVoice(ProgramVoice):
    """Plays recordings, LANGUAGE/NAME.wav in a folder, which all have one rate and number of channels."""

    def __init__(
        self, *, directory: Path, player: Sequence[str], volume: int = 50, timeout: float = PROGRAM_TIMEOUT_S
    ) -> None:
        super().__init__(timeout=timeout)
        self._directory = directory
        self._player = player
        self._factor = volume / 50

    def _speak(self, turn: int, utterances: Sequence[Utterance]) -> bool:
        sound = join((read_sound(self._recording(utterance)), utterance.pause) for utterance in utterances)
        return self._play(turn, self._player, sound.times(self._factor))

    def _recording(self, utterance: Utterance) -> bytes:
        tag = _tag(utterance.language)
        if not fullmatch(r"[\w-]+", utterance.name):
            raise HardwareError("an utterance has no name for a recording", hint="Use another kind of voice.")
        for folder in (tag, tag.partition("-")[0]):
            try:
                return (self._directory / folder / f"{utterance.name}.wav").read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise PartMissing(
                    f"cannot read a recording in {self._directory / folder}: {explain(error)}",
                    hint="Check the owner and the mode of the recordings.",
                ) from error
        # The message has no name: letter by letter the names would spell the user code.
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
        if not os.path.isdir(plan.directory):  # noqa: PTH112  Path.is_dir raises in a closed folder
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
    return PartMissing(f"there is no program {program}", hint=hint)


def _tag(language: str) -> str:
    """Return a language tag, checked, for it becomes an argument and the name of a folder. Source: RFC 5646 §2.1."""
    if not fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", language):
        raise HardwareError(f"{language!r} is not a language tag", hint="Use a tag such as en or pt-BR.")
    return language


def _espeaks_voice(tag: str) -> str:
    """Return a tag by which espeak-ng has a voice of the region: it knows America's Spanish as one, and Mexico's as that."""
    is_american = fullmatch(r"es-([A-Z]{2}|419)", tag) and tag != "es-ES"
    return "es-419" if is_american else tag


def _start(command: Sequence[str], errors: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - the command is the administrator's setting and has no text in it
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise _absent(command[0]) from error
    except OSError as error:
        raise PartMissing(
            f"cannot start {command[0]}: {explain(error)}", hint="Check that it may be executed."
        ) from error


def _environment() -> dict[str, str]:
    """Return our environment without secrets; a program needs it to find the sound server."""
    return {name: value for name, value in os.environ.items() if "SECRET" not in name.upper()}  # noqa: TID251 - passed on to a program


def _kill_group(program: subprocess.Popen[bytes]) -> None:
    """Kill a program with its children, unless it has ended; a player is often a script that runs another."""
    if program.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)


def _failure(program: str, status: int, errors: int) -> HardwareError:
    if errors == subprocess.DEVNULL:
        return HardwareError(
            f"{program} {describe_end(status)}", hint="Check that it has a voice for the language."
        )
    text = " ".join(os.pread(errors, _REPORTED_BYTES, 0).decode(errors="replace").split())
    if "busy" in text.lower():
        return PartBusy(
            f"the sound card is in use: {text}",
            hint="Use a player that shares it, such as pw-play or paplay.",
        )
    return HardwareError(
        f"{program} {describe_end(status)}: {text}", hint="Try the player by hand; list cards: aplay -l."
    )
