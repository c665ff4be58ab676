"""Keys: finds who holds the key that the stored link is sealed under.

Three may: the service manager, which hands it over as a credential; the Raspberry Pi's chip, which answers with a
code that only this board can make; a file. None is made here: a key that lies beside its data is no protection, so
with nothing set up the link stays plain, and the doctor says so.

Each is looked for once, and only when something is to be sealed or opened under it. What somebody set up is never
passed over for something weaker: if it cannot be had, nothing is written.

Source: systemd.exec(5) "Credentials"; systemd-creds(1); raspberrypi/utils, ``rpifwcrypto/main.c`` and its README.
"""

import hashlib
import hmac
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from device_auth.core.errors import ConfigError, DeviceAuthError, StoreError
from device_auth.world.envelope import KeyMissing, KeyProvider, Plain
from device_auth.world.explain import explain
from device_auth.world.files import read_plain
from device_auth.world.sealing import SealingKey, can_seal
from device_auth.world.settings import AUTO, ENVIRONMENT, KEY_PROVIDERS, Settings, quoted

SHORTEST: Final = 32
"""Bytes of a key. Shorter ones may be words, and words can be guessed."""

LONGEST: Final = 4096
"""Bytes of a key; more is some other file."""

CREDENTIAL: Final = "device-auth.key"
"""Its name in the unit, and below ``$CREDENTIALS_DIRECTORY``."""

TOOL: Final = "rpi-fw-crypto"

BOARD_KEY: Final = "1"
"""The slot of the device's own key in the one-time memory. Source: raspberrypi/utils, rpifwcrypto/README.md."""

LABEL: Final = b"device-auth key v1"
"""What the board makes its code of: public, and only ever this."""

PATIENCE: Final = 3.0
"""Seconds for a tool that answers in some milliseconds."""

KEY_NOT_SET: Final = 256 - 6
"""How the tool ends if nothing was ever written into the slot. Source: rpifwcrypto.h, RPI_FW_CRYPTO_KEY_NOT_SET."""

SYSTEMD_CREDENTIAL, RPI_FW_CRYPTO, KEY_FILE, _ = KEY_PROVIDERS

PROTECTS: Final = {
    SYSTEMD_CREDENTIAL: (
        "Protects the link from whoever has a copy of it; from whoever has the card only if a TPM seals the"
        " credential, as else its key lies on the same card. Not from root, nor from whoever has the whole speaker."
    ),
    RPI_FW_CRYPTO: (
        "Protects the link from whoever has the card: the key stays in the board. Not from root and others who may"
        " use /dev/vcio, nor from whoever has the whole speaker."
    ),
    KEY_FILE: (
        "Protects the link from whoever has a copy of it; from whoever has the card only if the key file lies on"
        " another one. Not from root, nor from whoever has the whole speaker."
    ),
}


class KeyProblem(NamedTuple):
    """A key that was set up and cannot be had.

    Attributes:
        is_setting: a setting is what is wrong; else it may be in reach of the service alone.
    """

    name: str
    message: str
    hint: str
    is_setting: bool


class KeyTrouble(NamedTuple):
    """Why a key cannot be had.

    Attributes:
        message: what is wrong.
        hint: what a person should do.
        is_set_up: somebody meant it to be there.
        is_setting: a setting is what is wrong.
    """

    message: str
    hint: str
    is_set_up: bool = False
    is_setting: bool = False

    def error(self, name: str) -> DeviceAuthError:
        """Say it to whoever was about to seal something."""
        kind = ConfigError if self.is_setting else StoreError
        return kind(f"there is no key to seal the link under ({name}): {self.message}", hint=self.hint)


_WITHOUT_LIBRARY: Final = KeyTrouble(
    "the Python package cryptography cannot be loaded",
    "Run: pip install --force-reinstall cryptography",
    is_set_up=True,
    is_setting=True,
)


class Keys:
    """Every key that may be had.

    Args:
        choice: whose key seals: a name, or ``auto`` for the best that is there.
        sources: looks for each, by name.
    """

    def __init__(self, choice: str, sources: Mapping[str, Callable[[], SealingKey | KeyTrouble]]) -> None:
        self._choice = choice
        self._sources = sources
        self._found: dict[str, SealingKey | KeyTrouble] = {}

    def sealing(self) -> KeyProvider:
        """Return the key to seal under.

        Raises:
            ConfigError: it cannot be had for a wrong setting.
            StoreError: it cannot be had now.
        """
        wanted = [name for name in KEY_PROVIDERS if self._choice in {AUTO, name} and name != Plain.name]
        for name in wanted:
            found = self._find(name)
            if isinstance(found, SealingKey):
                return found
            if found.is_set_up or self._choice != AUTO:
                raise found.error(name)
        return Plain()

    def named(self, name: str) -> SealingKey:
        """Return the key of a provider, to open what is sealed under it.

        Raises:
            KeyMissing: it cannot be had.
        """
        found = self._find(name)
        if isinstance(found, KeyTrouble):
            raise KeyMissing(
                f"the key is held by the service ({name}: {found.message})",
                hint="Start the service (systemctl start device-auth) and try again. If the key is gone for good:"
                " device-auth unlink, then device-auth link",
                why=f"its key cannot be had ({name}: {found.message})",
            )
        return found

    @property
    def providers(self) -> tuple[KeyProvider, ...]:
        """Return all that can be had: whose key seals, then the others, the best first; ``Plain`` among them."""
        names = sorted(KEY_PROVIDERS, key=lambda name: name != self._choice)
        found = (Plain() if name == Plain.name else self._find(name) for name in names)
        return tuple(key for key in found if not isinstance(key, KeyTrouble))

    @property
    def problems(self) -> tuple[KeyProblem, ...]:
        """Return what was set up and cannot be had."""
        lacks = ((name, self._find(name)) for name in KEY_PROVIDERS if name != Plain.name)
        return tuple(
            KeyProblem(name, lack.message, lack.hint, lack.is_setting)
            for name, lack in lacks
            if isinstance(lack, KeyTrouble) and (lack.is_set_up or name == self._choice)
        )

    @property
    def lacks(self) -> dict[str, str]:
        """Say of each provider why it gives no key."""
        found = {name: self._find(name) for name in KEY_PROVIDERS if name != Plain.name}
        return {name: lack.message for name, lack in found.items() if isinstance(lack, KeyTrouble)}

    def _find(self, name: str) -> SealingKey | KeyTrouble:
        if name not in self._found:
            unknown = KeyTrouble("this program does not know it", "Install the newer device-auth again.")
            found = self._sources[name]() if name in self._sources else unknown
            self._found[name] = found if isinstance(found, KeyTrouble) or can_seal() else _WITHOUT_LIBRARY
        return self._found[name]


ONLY_PLAIN: Final = Keys(Plain.name, {})
"""Nothing is sealed: a simulation's."""


def find_keys(
    settings: Settings,
    environ: Mapping[str, str] = ENVIRONMENT,
    *,
    euid: int | None = None,
    patience: float = PATIENCE,
) -> Keys:
    """Find the keys of this speaker; each is looked for when it is first asked for.

    Args:
        settings: whose key is wanted, and where the file is.
        environ: where the service manager says what it gave, and programs are looked for.
        euid: who asks; the process itself if None.
        patience: seconds that the board may take to answer.
    """
    mine = os.geteuid() if euid is None else euid
    return Keys(
        settings.key_provider,
        {
            SYSTEMD_CREDENTIAL: lambda: _find_credential(environ.get("CREDENTIALS_DIRECTORY")),
            RPI_FW_CRYPTO: lambda: _ask_board(environ.get("PATH", os.defpath), patience),
            KEY_FILE: lambda: _find_key_file(settings.key_file, mine),
        },
    )


# ---------------------------------------------------------------------------------------------------------
# The service manager's credential


def _find_credential(folder: str | None) -> SealingKey | KeyTrouble:
    hint = "Set it up as docs/encryption.md says, and restart the service."
    if not folder:
        return KeyTrouble("the service manager gives it to the service alone", hint)
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
        return _wrong("key_file must be a whole path", "Write it from / on.")
    try:
        material, status = read_plain(path, LONGEST + 1)
    except FileNotFoundError:
        return _wrong(
            f"key_file {path} is not there",
            "Put it back where it was, or see docs/encryption.md for how to make one.",
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
    """Return why this is no key, or nothing."""
    if len(material) < SHORTEST:
        return f"is too short for a key (under {SHORTEST} bytes)"
    if len(material) > LONGEST:
        return f"is too large for a key (over {LONGEST} bytes)"
    # as a power cut leaves a file that was never synced
    return "is the same byte all over" if len(set(material)) == 1 else ""


# ---------------------------------------------------------------------------------------------------------
# The Raspberry Pi's chip


def _ask_board(search_path: str, patience: float) -> SealingKey | KeyTrouble:
    """Have the board make a code of a fixed text with the key in its one-time memory: that code is our key."""
    import shutil

    tool = shutil.which(TOOL, path=search_path)
    if tool is None:
        return KeyTrouble(
            f"{TOOL} is not installed",
            "Install it (Raspberry Pi OS: sudo apt install raspi-utils), and try again.",
        )
    return _answer_of(tool, patience)


def _answer_of(tool: str, patience: float) -> SealingKey | KeyTrouble:
    import signal
    import subprocess  # noqa: TID251  the same; a tool of the board's maker has no other door

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
    assert process.stdout is not None  # noqa: S101  the same
    with process.stdin as asked, process.stdout as answered:
        with suppress(BrokenPipeError):
            asked.write(LABEL)
        asked.close()
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel is left there
                process.wait(1)
            return KeyTrouble(
                f"{TOOL} did not answer within {patience:.0f} s", f"Restart the speaker. {hint}"
            )
        # read only now: until its reader comes a pipe holds so much and no more (pipe(7))
        return _key_of_answer(code, _read_what_is_there(answered.fileno()))


def _read_what_is_there(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)  # what it left running may hold the other end open
    try:
        return os.read(descriptor, hashlib.sha256().digest_size + 1)
    except BlockingIOError:
        return b""


def _key_of_answer(code: int, answer: bytes) -> SealingKey | KeyTrouble:
    # an empty memory is all zeros, and anybody can make the code of that
    of_no_key = hmac.digest(b"", LABEL, hashlib.sha256)
    if code == KEY_NOT_SET or answer == of_no_key:
        return KeyTrouble(
            "this board's one-time memory holds no key",
            "See docs/encryption.md for how one is put there, once and for all.",
        )
    if code != 0:
        return KeyTrouble(
            f"{TOOL} ended with {code}",
            "Its firmware may be too old for it, or this user may not use /dev/vcio.",
        )
    if len(answer) != len(of_no_key):
        return KeyTrouble(
            f"{TOOL} gave something else than a key", "See whether it is the board maker's own."
        )
    return SealingKey(RPI_FW_CRYPTO, answer, PROTECTS[RPI_FW_CRYPTO])
