"""The key that the stored link is sealed under, from its holder.

There are three: the service manager, which hands the key over as a credential; the Raspberry Pi's chip, which returns a
code that only this board can make; a file. No key is made here: one that lies beside its data does not protect it, so
without any the link stays plain, and the doctor reports that.

Each holder is asked once, at the first use of its key. If a key that was set up is not available, nothing is written:
a weaker one never takes its place.

Source: systemd.exec(5) "Credentials"; systemd-creds(1); raspberrypi/utils, ``rpifwcrypto/main.c`` and its README.
"""

import hashlib
import hmac
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from device_auth.core.errors import ConfigError, DeviceAuthError, StoreError
from device_auth.core.models import Seconds
from device_auth.core.values import dataclass
from device_auth.world.envelope import KeyMissing, KeyProvider, Plain
from device_auth.world.explain import explain
from device_auth.world.files import read_plain
from device_auth.world.sealing import SealingKey, can_seal
from device_auth.world.settings import AUTO, ENVIRONMENT, KEY_PROVIDERS, Settings, quoted
from hardware.errors import describe_end

SHORTEST: Final = 32
"""Bytes of a key. A shorter one may be a word, and words can be guessed."""

LONGEST: Final = 4096
"""Bytes of a key; more is some other file."""

CREDENTIAL: Final = "device-auth.key"
"""The credential's name in the unit and below ``$CREDENTIALS_DIRECTORY``."""

TOOL: Final = "rpi-fw-crypto"

BOARD_KEY: Final = "1"
"""The slot of the device's own key in the one-time memory. Source: raspberrypi/utils, rpifwcrypto/README.md."""

LABEL: Final = b"device-auth key v1"
"""The public text from which the board makes its code; never changes."""

BOARD_TIMEOUT: Final = Seconds(3)
"""For a tool that answers in some milliseconds."""

KEY_NOT_SET: Final = 256 - 6
"""The tool's exit code for a slot that was never written. Source: rpifwcrypto.h, RPI_FW_CRYPTO_KEY_NOT_SET."""

SYSTEMD_CREDENTIAL, RPI_FW_CRYPTO, KEY_FILE, _ = KEY_PROVIDERS

PROTECTS: Final = {
    SYSTEMD_CREDENTIAL: (
        "Protects the link from anyone who has a copy of it; from anyone who has the card only if a TPM seals the"
        " credential, as else its key lies on the same card. Not from root, nor from anyone who has the whole speaker."
    ),
    RPI_FW_CRYPTO: (
        "Protects the link from anyone who has the card: the key stays in the board. Not from root and others who may"
        " use /dev/vcio, nor from anyone who has the whole speaker."
    ),
    KEY_FILE: (
        "Protects the link from anyone who has a copy of it; from anyone who has the card only if the key file lies on"
        " another one. Not from root, nor from anyone who has the whole speaker."
    ),
}


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """A key that was set up and is not available.

    Attributes:
        is_setting: whether a setting is wrong; else the key may be available to the service alone.
    """

    name: str
    message: str
    hint: str
    is_setting: bool


@dataclass(frozen=True, slots=True)
class KeyTrouble:
    """The reason why a key is not available.

    Attributes:
        message: the reason.
        hint: the next step for a person.
        is_set_up: whether someone set the key up.
        is_setting: whether a setting is wrong.
    """

    message: str
    hint: str
    is_set_up: bool = False
    is_setting: bool = False

    def error(self, name: str) -> DeviceAuthError:
        """Return the error for a caller that needs the key to seal."""
        kind = ConfigError if self.is_setting else StoreError
        return kind(f"there is no key to seal the link under ({name}): {self.message}", hint=self.hint)


def _without_library() -> KeyTrouble:
    from device_auth.installation import how_to_install

    return KeyTrouble(
        "the Python package cryptography cannot be loaded",
        how_to_install("cryptography", again=True),
        is_set_up=True,
        is_setting=True,
    )


class Keys:
    """The keys of this speaker.

    Args:
        choice: the holder of the key that seals, or ``auto`` for the best one available.
        sources: by holder, a function that finds the key.
        unknown: why the settings may name a key file that is not known, or None.
    """

    def __init__(
        self,
        choice: str,
        sources: Mapping[str, Callable[[], SealingKey | KeyTrouble]],
        unknown: ConfigError | None = None,
    ) -> None:
        self._choice = choice
        self._sources = sources
        self._unknown = unknown
        self._found: dict[str, SealingKey | KeyTrouble] = {}

    def sealing(self) -> KeyProvider:
        """Return the key to seal under.

        Raises:
            ConfigError: if it is not available because of a wrong setting.
            StoreError: if it is not available for another reason.
        """
        wanted = [name for name in KEY_PROVIDERS if self._choice in {AUTO, name} and name != Plain.name]
        for name in wanted:
            found = self._find(name)
            if isinstance(found, SealingKey):
                return found
            if found.is_set_up or self._choice != AUTO:
                raise found.error(name)
        return Plain()

    @property
    def is_one_set_up(self) -> bool:
        """Return whether someone set a key up, as far as is known without asking the board: that starts a program."""
        if self._choice == AUTO:
            cheap = (name for name in self._sources if name != RPI_FW_CRYPTO)
            return any(_is_set_up(self._find(name)) for name in cheap)
        return self._choice != Plain.name

    def named(self, name: str) -> SealingKey:
        """Return the key of a provider, to open a link.

        Raises:
            KeyMissing: if it is not available.
            StoreError: if that is not known because the settings cannot be read: it is not lost.
        """
        if name == KEY_FILE and self._unknown is not None:
            raise StoreError(f"its key file is not known: {self._unknown}", hint=self._unknown.hint)
        found = self._find(name)
        if isinstance(found, KeyTrouble):
            raise KeyMissing(
                f"the key is held by the service ({name}: {found.message})",
                hint="Start the service (systemctl start device-auth) and try again. If the key is gone for good:"
                " device-auth unlink, then device-auth link",
                why=f"its key is not available ({name}: {found.message})",
            )
        return found

    def load(self) -> None:
        """Look for every key now: a child that has become another user could not."""
        for name in KEY_PROVIDERS:
            if name != Plain.name:
                self._find(name)

    @property
    def providers(self) -> tuple[KeyProvider, ...]:
        """Return the available ones: the one that seals, then the others, the best first; ``Plain`` among them."""
        names = sorted(KEY_PROVIDERS, key=lambda name: name != self._choice)
        found = (Plain() if name == Plain.name else self._find(name) for name in names)
        return tuple(key for key in found if not isinstance(key, KeyTrouble))

    @property
    def problems(self) -> tuple[KeyProblem, ...]:
        """Return the problems with the keys that were set up."""
        return tuple(
            KeyProblem(name, trouble.message, trouble.hint, trouble.is_setting)
            for name, trouble in self._troubles()
            if trouble.is_set_up or name == self._choice
        )

    @property
    def reasons(self) -> dict[str, str]:
        """Return, by provider, the reason why its key is not available."""
        return {name: trouble.message for name, trouble in self._troubles()}

    def _troubles(self) -> Iterator[tuple[str, KeyTrouble]]:
        for name in KEY_PROVIDERS:
            found = Plain() if name == Plain.name else self._find(name)
            if isinstance(found, KeyTrouble):
                yield name, found

    def _find(self, name: str) -> SealingKey | KeyTrouble:
        if name not in self._found:
            unknown = KeyTrouble(
                "this program does not know this provider", "Install the newer device-auth again."
            )
            found = self._sources[name]() if name in self._sources else unknown
            self._found[name] = found if isinstance(found, KeyTrouble) or can_seal() else _without_library()
        return self._found[name]


def _is_set_up(found: SealingKey | KeyTrouble) -> bool:
    return isinstance(found, SealingKey) or found.is_set_up


ONLY_PLAIN: Final = Keys(Plain.name, {})
"""For a simulation: nothing is sealed."""


def find_keys(
    settings: Settings,
    environ: Mapping[str, str] = ENVIRONMENT,
    *,
    euid: int | None = None,
    timeout: Seconds = BOARD_TIMEOUT,
    unknown: ConfigError | None = None,
) -> Keys:
    """Return the keys of this speaker; each is looked for at its first use.

    Args:
        settings: name the holder and the key file.
        environ: names the folder of credentials and the search path.
        euid: the user ID; that of the process if None.
        timeout: for the board's answer.
        unknown: why the settings may be others than these, or None.
    """
    mine = os.geteuid() if euid is None else euid
    return Keys(
        settings.key_provider,
        {
            SYSTEMD_CREDENTIAL: lambda: _find_credential(environ.get("CREDENTIALS_DIRECTORY")),
            RPI_FW_CRYPTO: lambda: _ask_board(environ.get("PATH", os.defpath), timeout),
            KEY_FILE: lambda: _find_key_file(settings.key_file, mine),
        },
        None if settings.key_file else unknown,
    )


# ---------------------------------------------------------------------------------------------------------
# The service manager's credential


def _find_credential(folder: str | None) -> SealingKey | KeyTrouble:
    hint = "Set it up as docs/encryption.md says, and restart the service."
    if not folder:
        return KeyTrouble("only the service receives it from the service manager", hint)
    path = Path(folder, CREDENTIAL)
    try:
        material, _ = read_plain(path, LONGEST + 1)
    except FileNotFoundError:
        return KeyTrouble(f"the service manager gave no credential {CREDENTIAL}", hint)
    except OSError as error:
        return KeyTrouble(explain(f"cannot read {path}", error), hint, is_set_up=True)
    fault = _fault_of(material)
    if fault:
        return KeyTrouble(f"the credential {CREDENTIAL} {fault}", hint, is_set_up=True)
    return SealingKey(SYSTEMD_CREDENTIAL, material, PROTECTS[SYSTEMD_CREDENTIAL])


# ---------------------------------------------------------------------------------------------------------
# The file


def _find_key_file(named: str, mine: int) -> SealingKey | KeyTrouble:
    path = Path(named)
    if not named:
        return KeyTrouble("key_file is not set", "Set key_file to its path.", is_setting=True)
    if not path.is_absolute():
        return _wrong("key_file must be an absolute path", "Begin it with /.")
    try:
        material, status = read_plain(path, LONGEST + 1)
    except FileNotFoundError:
        return _wrong(
            f"there is no key_file {path}",
            "Put it back, or see docs/encryption.md for how to make one.",
        )
    except (OSError, ValueError) as error:
        return _wrong(explain(f"cannot read key_file {path}", error), "Check its owner, or use sudo.")
    if mine != 0 and status.st_uid not in {0, mine}:
        return _wrong(
            f"key_file {path} belongs to another user (uid {status.st_uid})",
            f"Run: sudo chown {mine} {quoted(path)}",
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return _wrong(
            f"key_file {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
            f"Run: chmod 600 {quoted(path)}",
        )
    fault = _fault_of(material)
    if fault:
        return _wrong(
            f"key_file {path} {fault}", f"Make one: head -c {SHORTEST} /dev/urandom > {quoted(path)}"
        )
    return SealingKey(KEY_FILE, material, PROTECTS[KEY_FILE])


def _wrong(message: str, hint: str) -> KeyTrouble:
    return KeyTrouble(message, hint, is_set_up=True, is_setting=True)


def _fault_of(material: bytes) -> str:
    """Return the reason why this is not a key, or nothing."""
    if len(material) < SHORTEST:
        return f"is too short for a key (under {SHORTEST} bytes)"
    if len(material) > LONGEST:
        return f"is too large for a key (over {LONGEST} bytes)"
    # a power cut leaves such a file if it was never synced
    return "is one byte repeated" if len(set(material)) == 1 else ""


# ---------------------------------------------------------------------------------------------------------
# The Raspberry Pi's chip


def _ask_board(search_path: str, timeout: Seconds) -> SealingKey | KeyTrouble:
    """Return our key: a code that the board makes of a fixed text with the key in its one-time memory."""
    # not by shutil, which loads bz2 and lzma, at each start
    places = [f"{folder}/{TOOL}" for folder in search_path.split(os.pathsep) if folder]
    tool = next((place for place in places if os.access(place, os.X_OK) and os.path.isfile(place)), None)  # noqa: PTH113  Path.is_file raises
    if tool is None:
        return KeyTrouble(
            f"{TOOL} is not installed",
            "Install it (Raspberry Pi OS: sudo apt install raspi-utils), and try again.",
        )
    return _answer_of(tool, timeout)


def _answer_of(tool: str, timeout: Seconds) -> SealingKey | KeyTrouble:
    import signal
    import subprocess  # noqa: TID251  the board's key can only be used through its maker's tool

    hint = "See docs/encryption.md: the board needs its key, and this user /dev/vcio."
    try:
        process = subprocess.Popen(  # noqa: S603  fixed words; no secret among them, nor in the environment
            [tool, "hmac", "--in", "/dev/stdin", "--key-id", BOARD_KEY],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
            cwd="/",
            process_group=0,
        )
    except OSError as error:
        return KeyTrouble(explain(f"cannot run {tool}", error), hint)
    assert process.stdin is not None  # noqa: S101  asked for above
    assert process.stdout is not None  # noqa: S101  asked for above
    with process.stdin as asked, process.stdout as answered:
        with suppress(BrokenPipeError):
            asked.write(LABEL)
        asked.close()
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel is left behind
                process.wait(1)
            return KeyTrouble(f"{TOOL} did not answer within {timeout:.0f} s", f"Restart the speaker. {hint}")
        # read only now: before that a pipe holds no more than its capacity (pipe(7))
        return _key_of_answer(code, _read_what_is_there(answered.fileno()))


def _read_what_is_there(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)  # a program that it started may hold the other end open
    try:
        return os.read(descriptor, hashlib.sha256().digest_size + 1)
    except BlockingIOError:
        return b""


def _key_of_answer(code: int, answer: bytes) -> SealingKey | KeyTrouble:
    # an empty memory is all zeros, and anyone can make the code of that
    of_no_key = hmac.digest(b"", LABEL, hashlib.sha256)
    if code == KEY_NOT_SET or answer == of_no_key:
        return KeyTrouble(
            "this board's one-time memory holds no key",
            "See docs/encryption.md: it is written once and for all.",
        )
    if code != 0:
        return KeyTrouble(
            f"{TOOL} {describe_end(code)}",
            "Its firmware may be too old for it, or this user may not use /dev/vcio.",
        )
    if len(answer) != len(of_no_key):
        return KeyTrouble(f"{TOOL} returned no key", "Check that it is the board maker's own.")
    return SealingKey(RPI_FW_CRYPTO, answer, PROTECTS[RPI_FW_CRYPTO])
