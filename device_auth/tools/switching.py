"""Switch a board of parts on, or off again: the unit's drop-ins and the settings, then the service.

Whatever ends this half-way, a signal or the plug, the next run mends: every file is whole at any moment, the drop-ins come
before the settings that need them and go after them, and a file in ``/run`` stays until the service has been started with
them. A restart of the machine does the same.
"""

import errno
import grp
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple

from device_auth.assembly.checked_settings import check_settings
from device_auth.assembly.doors import Doors
from device_auth.assembly.opening import open_speaker
from device_auth.assembly.service import find_service
from device_auth.assembly.settings_draft import SettingsDraft, drafted_where_it_counts, is_read_only
from device_auth.core.errors import ConfigError, NotLinked, StoreError
from device_auth.core.models import Seconds, later
from device_auth.core.states import StateWord
from device_auth.tools import drop_ins
from device_auth.tools.drop_ins import BOARDS, GPIO, KEYS, PANELS, DropIn
from device_auth.tools.parts_list import RPI_GPIO, choose_back_end
from device_auth.world.explain import explain
from device_auth.world.files import Folder, read_plain
from device_auth.world.keys import CREDENTIAL, SYSTEMD_CREDENTIAL
from device_auth.world.places import ROOT, read_places
from device_auth.world.service_unit import (
    BOOTED,
    LOOK_AT_THE_LOG,
    SOCKET_UNIT,
    UNIT,
    drive_systemctl,
    run_systemctl,
    show,
)
from device_auth.world.settings import ENVIRONMENT, HARDWARE
from device_auth.world.toml_lines import read_toml, with_setting, without_setting
from hardware.board import NO_BOARD, board_names, read_plan

if TYPE_CHECKING:
    from device_auth.client import Status

RESTART_DUE: Final = Path("run/device-auth.restart-due")
"""Is there from the first change on until the service has answered: in memory, as a start of the machine is one too."""

IN_USE_WITHIN: Final = Seconds(5)
LOOKS_EVERY: Final = Seconds(0.1)

CREDENTIAL_FILE: Final = Path("etc/credstore.encrypted") / CREDENTIAL

LARGEST_ENVELOPE: Final = 64 * 1024

INTO_THE_IMAGE: Final = "the root is read-only: this belongs into the image"


class Selection(NamedTuple):
    """What is to be switched on.

    Attributes:
        board: by its name, or that of a drop-in without a board; None leaves it as it is.
        panel: its kind; None leaves it as it is.
        key: the holder of the key to seal under; None leaves it as it is.
        keeps_settings: only the drop-ins are wanted.
    """

    board: str | None
    panel: str | None = None
    key: str | None = None
    keeps_settings: bool = False


class FileReport(NamedTuple):
    """What became of a file: ``written``, ``removed``, ``unchanged``, or ``left``, as it is a person's or the image's."""

    path: str
    action: str


class HardwareSwitch:
    """The board of one machine.

    Args:
        options: the command line's arguments by name.
        new_text: of a settings file, where there is none.
        environ: the environment.
        euid: the user ID; that of the process if None.
        root: the root folder.
    """

    def __init__(
        self,
        options: Mapping[str, object],
        new_text: str,
        *,
        environ: Mapping[str, str] = ENVIRONMENT,
        euid: int | None = None,
        root: Path = ROOT,
    ) -> None:
        self._options, self._environ, self._euid, self._root = options, environ, euid, root
        self._new_text = new_text
        self._places = read_places(options, environ, euid, root)
        self.is_booted = os.path.lexists(root / BOOTED)
        """systemd runs this machine."""
        self.problems: tuple[ConfigError, ...] = ()
        """Of the settings, which had them before."""
        self.kept_key: str | None = None
        """The holder of the key whose drop-in was left in place."""

    def open_doors(self) -> Doors:
        """Return the doors of the speaker with the settings as they are now."""
        doors = Doors(self._options, read_places(self._options, self._environ, self._euid, self._root))
        doors.machine = self._root
        return doors

    # -- files

    def enable(self, wanted: Selection) -> list[FileReport]:
        """Put drop-ins and settings in place.

        Raises:
            ConfigError: if that cannot be; then nothing was changed.
            StoreError: if the key is not available.
        """
        is_board = wanted.board in board_names()  # that of a kernel's LED is a drop-in alone
        has_pins = is_board and read_plan({"board": wanted.board}).gpio != "simulated"
        back_end, is_original = choose_back_end(self._hardware().get("gpio")) if has_pins else ("", False)
        files: dict[str, str | None] = {}
        if wanted.board is not None:
            files |= {BOARDS: wanted.board, GPIO: RPI_GPIO if is_original else None}
        if wanted.panel is not None:
            files[PANELS] = wanted.panel
        # Of a key without a drop-in, that of the former key stays: the link is moved from one to the other.
        if wanted.key in drop_ins.shipped(KEYS):
            files[KEYS] = wanted.key

        def change(text: str, _: bool) -> str:
            if wanted.keeps_settings:
                return text
            if is_board:
                gpio = (HARDWARE, "gpio")
                text = with_setting(text, (HARDWARE, "board"), wanted.board)
                text = with_setting(text, gpio, back_end) if has_pins else without_setting(text, gpio)
            if wanted.panel is not None:
                text = _with_panel(text, wanted.panel)
            return text if wanted.key is None else with_setting(text, ("key_provider",), wanted.key)

        with self._changing(files, change) as (planned, draft):
            self._refuse_missing_groups(planned)
            if wanted.key is not None and self.is_booted:
                self._prove_key(wanted.key, draft)
            self._note_restart(planned, draft)
            drop_ins.put_in_place(planned)
            draft.put_in_place()
        return _report(planned, draft)

    def disable(self, *, keeps_settings: bool) -> list[FileReport]:
        """Take the drop-ins of this program out, and switch the board off in the settings.

        The key's stays while the stored link is sealed under it.

        Raises:
            ConfigError: if that cannot be; then nothing was changed.
        """
        key = self._key_in_place()
        files: dict[str, str | None] = {BOARDS: None, PANELS: None, GPIO: None}
        if key is not None and self._may_seal(key):
            self.kept_key = key
        elif key is not None:
            files[KEYS] = None
        before = self._hardware()

        def change(text: str, is_on_unit: bool) -> str:
            if keeps_settings:
                return text
            if before.get("board", NO_BOARD) != NO_BOARD:
                text = with_setting(text, (HARDWARE, "board"), NO_BOARD)
            for name in ("gpio", "panel"):
                text = without_setting(text, (HARDWARE, name))
            if is_on_unit and before.get("panel", "off") != "off":
                text = with_setting(text, (HARDWARE, "panel"), "off")  # that of the settings file
            is_named = KEYS in files and read_toml(text).get("key_provider") == key
            return without_setting(text, ("key_provider",)) if is_named else text

        with self._changing(files, change) as (planned, draft):
            self._note_restart(planned, draft)
            draft.put_in_place()
            try:
                drop_ins.put_in_place(planned)
            except OSError as error:
                if keeps_settings or not is_read_only(error):
                    raise
                # they are the image's, and do no harm: no part is set that needs them
                return _report([each._replace(is_left=not each.is_so) for each in planned], draft)
        return _report(planned, draft)

    def _may_seal(self, key: str) -> bool:
        """Return whether a link is stored that is sealed under a key, or cannot be looked at."""
        try:
            for path in self._places.state_dir.glob("link.json*"):
                envelope = json.loads(read_plain(path, LARGEST_ENVELOPE)[0])
                if not isinstance(envelope, dict) or envelope.get("key_provider") == key:
                    return True
        except (OSError, ValueError):
            return True
        return False

    @contextmanager
    def _changing(
        self, files: Mapping[str, str | None], change: Callable[[str, bool], str]
    ) -> Iterator[tuple[list[DropIn], SettingsDraft]]:
        """Prepare drop-ins and settings."""
        config = self._places.files.config or self._places.new_config_file
        try:
            planned = drop_ins.plan(files, self._root)
            with drafted_where_it_counts(
                self._places, change, self._options, self._environ, new_text=self._new_text
            ) as draft:
                self.problems = draft.problems
                yield planned, draft
        except OSError as error:
            raise self._refusal(error, files, config) from error
        except ConfigError as error:
            if is_read_only(error.__cause__):
                raise self._refusal(error.__cause__, files, config) from error
            raise

    def _refusal(
        self, error: BaseException | None, files: Mapping[str, str | None], path: Path
    ) -> ConfigError:
        if isinstance(error, OSError) and error.errno != errno.EROFS:
            return ConfigError(
                explain(f"cannot write {error.filename or path}", error),
                hint="Mend that and try again: it goes on where it stopped.",
            )
        names = [
            f"{self._root / drop_ins.FOLDER / drop_ins.NAMES[sort]} ({sort}/{name}.conf)"
            for sort, name in files.items()
            if name in drop_ins.shipped(sort)
        ]
        return ConfigError(
            INTO_THE_IMAGE,
            hint="Run this where the image is made, in its root (chroot); it needs no systemd there. It writes:"
            f" {', '.join([*names, str(path)])}.",
        )

    def _hardware(self) -> Mapping[str, object]:
        """Return the table of the parts as it counts now."""
        return check_settings(self._options, self._places.files, self._environ).settings.hardware

    def _refuse_missing_groups(self, planned: list[DropIn]) -> None:
        """Raise ConfigError if systemd could not start the service with these drop-ins: 216/GROUP."""
        missing = sorted({name for name in drop_ins.groups_in(planned) if not self._has_group(name)})
        if missing:
            raise ConfigError(
                f"there is no group {missing[0]}, and the service cannot start without; nothing was changed",
                hint="The package makes it, and so does: sudo make -C deploy/systemd install. Or, for this one alone:"
                f" sudo groupadd --system {missing[0]}",
            )

    def _has_group(self, name: str) -> bool:
        if self._root == ROOT:
            with suppress(KeyError):
                return bool(grp.getgrnam(name))
            return False
        try:
            lines = (self._root / "etc" / "group").read_text("utf-8", "replace").splitlines()
        except OSError:
            return True  # nothing is known of it
        return any(line.startswith(f"{name}:") for line in lines)

    def _prove_key(self, key: str, draft: SettingsDraft) -> None:
        """Raise unless the key can be had: a speaker whose key is named and cannot be had takes no link."""
        if key != SYSTEMD_CREDENTIAL:
            draft.checked.keys.sealing()
        elif not (self._root / CREDENTIAL_FILE).exists():
            raise ConfigError(
                f"there is no {self._root / CREDENTIAL_FILE}; nothing was changed",
                hint="docs/encryption.md has the command that makes it.",
            )

    def _key_in_place(self) -> str | None:
        """Return whose drop-in of ours is in the place of the key's."""
        for name in drop_ins.shipped(KEYS):
            with suppress(ConfigError):
                if drop_ins.plan({KEYS: name}, self._root)[0].is_so:
                    return name
        return None

    # -- the service

    @property
    def is_restart_due(self) -> bool:
        """Return whether something was changed that the service has not taken up yet."""
        return self.is_booted and (self._root / RESTART_DUE).exists()

    def _note_restart(self, planned: list[DropIn], draft: SettingsDraft) -> None:
        if self.is_booted and (draft.is_changed or not all(each.is_so for each in planned)):
            with Folder.open(self._root / RESTART_DUE.parent) as folder:
                folder.replace(RESTART_DUE.name, b"", 0o600)

    def restart(self, meanwhile: Callable[[], None]) -> bool:
        """Have the service take up the changes, and wait until it answers.

        Args:
            meanwhile: is called while the service is stopped, and its parts are free.

        Returns:
            Whether it answers; False if it is not installed, or not switched on.

        Raises:
            StoreError: if it does not start, or does not answer.
        """
        self._systemctl("daemon-reload")
        is_wanted = self._is_switched_on()
        if is_wanted:
            self._systemctl("stop", SOCKET_UNIT, UNIT)  # both: the socket would bring the service back
        try:
            meanwhile()
        finally:
            if is_wanted:
                # started first, the service would bind the address itself, and systemd would refuse the socket
                self._systemctl("start", SOCKET_UNIT)
                self._systemctl("start", UNIT)
        if is_wanted:
            self.status()
        (self._root / RESTART_DUE).unlink(missing_ok=True)
        return is_wanted

    def status(self) -> "Status":
        """Return the status that the service reports, once it answers.

        Raises:
            DeviceAuthError: if it does not.
        """
        found = find_service(self.open_doors())
        if found is None:
            raise StoreError("the service was started, and does not answer", hint=LOOK_AT_THE_LOG)
        return found.status

    def _is_switched_on(self) -> bool:
        service = show(drive_systemctl(self._root)).get(UNIT, {})
        is_enabled = service.get("UnitFileState", "").startswith("enabled")
        is_up = service.get("ActiveState") in {"active", "activating", "failed"}
        return service.get("LoadState") == "loaded" and (is_enabled or is_up)

    def _systemctl(self, *words: str) -> None:
        run_systemctl(self._root, *words)

    def seal(self) -> bool:
        """Seal the stored link under the key that is set up, and wait until it is in use; return False if there is no link.

        Raises:
            DeviceAuthError: if that fails; the link is whole then.
        """
        doors = self.open_doors()
        speaker = open_speaker(doors)
        try:
            speaker.seal()
        except NotLinked:
            return False
        until = later(doors.clock.now(), IN_USE_WITHIN)
        while speaker.status().state != StateWord.LINKED and doors.clock.now() < until:
            doors.clock.take(SimpleQueue(), later(doors.clock.now(), LOOKS_EVERY))
        return True


def _with_panel(text: str, kind: str) -> str:
    """Return the text with a panel of this kind; what its table has beside the kind stays."""
    hardware = read_toml(text).get(HARDWARE)
    has_table = isinstance(hardware, Mapping) and isinstance(hardware.get("panel"), Mapping)
    if has_table:
        return with_setting(text, (HARDWARE, "panel", "kind"), kind)
    return with_setting(text, (HARDWARE, "panel"), {"kind": kind})


def _report(planned: list[DropIn], draft: SettingsDraft) -> list[FileReport]:
    files = [
        FileReport(str(each.path), _action(each))
        for each in planned
        if each.content is not None or not each.is_so or each.is_left
    ]
    return [*files, FileReport(str(draft.path), "written" if draft.is_changed else "unchanged")]


def _action(planned: DropIn) -> str:
    if planned.is_left:
        return "left"
    if planned.is_so:
        return "unchanged"
    return "removed" if planned.content is None else "written"
