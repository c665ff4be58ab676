"""The whole life of a link, by the speaker's own machine, against a simulated Amazon: linked, refreshed, revoked, unlinked.

It uses a factory profile: nothing of an owner's is opened, and nothing of the test is left.
"""

from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

from device_auth.assembly.doors import Doors
from device_auth.assembly.local import LocalSpeaker, locked, refresh, usable
from device_auth.assembly.speaker import Audience, Ending, LinkOptions, error_of, unexplained
from device_auth.core.errors import ConfigError, StoreError, WrongUse
from device_auth.core.models import Mark, Seconds, Secret, TokenGrant, View, later
from device_auth.core.states import TROUBLES, Trouble
from device_auth.factory.talk import CheckOutcome, CodeEvent, Talk, WaitEvent
from device_auth.factory.unit.profile import LIFE, become_stranger, factory_profile
from device_auth.prompts.stderr import say
from device_auth.world.explain import explain
from device_auth.world.files import read_plain
from device_auth.world.keys import ONLY_PLAIN
from device_auth.world.places import Places
from device_auth.world.settings import IDS, PROVIDER_OPTIONS, SettingsFiles, read_settings

LOOKS_EVERY: Final = Seconds(1)
"""Between two refreshes while the station is to revoke the link."""

LARGEST_CA: Final = 1 << 20

_ADDRESSES: Final = ("base_url", "issuer", "device_endpoint")


class LinkTest(NamedTuple):
    """What a link-test is done with.

    Attributes:
        doors: of the unit, whose identity and options count.
        root_becomes_stranger: as on any unit that is none of a simulation.
        life: of the profile.
    """

    doors: Doors
    root_becomes_stranger: bool
    life: Seconds = LIFE


def run_link_test(talk: Talk, test: LinkTest) -> None:
    """Link, refresh, refresh once more with the new refresh token, notice a revocation, unlink.

    Args:
        talk: of the verb; its header may have the certificate to trust.
        test: what it is done with.

    Raises:
        DeviceAuthError: if no provider is named, or the profile cannot be used.
        KeyboardInterrupt: if it was interrupted.
    """
    doors = test.doors
    runtime_dir = doors.places.runtime_dir
    if runtime_dir is None:
        raise StoreError("there is no runtime folder", hint="Name one with --runtime-dir.")
    options = _options(doors)
    authorities = _authorities(talk, options)
    with factory_profile(runtime_dir, test.life) as folder:
        if authorities is not None:
            options["ca_file"] = str(folder / "ca.pem")
            (folder / "ca.pem").write_bytes(authorities)
        if test.root_becomes_stranger:
            _load_all()
            for path in folder.iterdir():
                path.chmod(0o644)
            become_stranger(folder)
        _LifeOfALink(talk, _open_profile(folder, options)).live()
    talk.check("profile-removed", CheckOutcome.PASS, "no file of the test is left")


def _options(doors: Doors) -> dict[str, object]:
    """Return the options of the profile: the unit's identity, and what was given on the command line.

    Raises:
        WrongUse: if no provider was given: the real one is not for a test.
    """
    options = {name: doors.options[name] for name in PROVIDER_OPTIONS if name in doors.options}
    if not any(name in options for name in _ADDRESSES):
        raise WrongUse("no simulated Amazon is named", hint="Name it with --base-url ADDRESS.")
    files = SettingsFiles(doors.places.files.identity) if doors.is_simulated else doors.places.files
    known = read_settings({}, files, {})
    return {name: value for name in IDS if (value := getattr(known, name))} | options


def _authorities(talk: Talk, options: Mapping[str, object]) -> bytes | None:
    """Return the certificates to trust: of the option, or the station's.

    Raises:
        ConfigError: if the file cannot be read.
    """
    path = options.get("ca_file")
    if path is None:
        return None if talk.header is None or talk.header.ca is None else talk.header.ca.encode()
    try:
        return read_plain(Path(str(path)), LARGEST_CA)[0]
    except (OSError, ValueError) as error:
        raise ConfigError(explain(f"cannot read {path}", error), hint="Check --ca-file.") from error


def _open_profile(folder: Path, options: Mapping[str, object]) -> Doors:
    """Return the doors of the profile: no file of settings counts here, and no variable."""
    places = Places(folder / "state", folder / "run", SettingsFiles(), folder / "config.toml")
    doors = Doors(options, places)
    doors.use_settings(read_settings(options, None, {}), ONLY_PLAIN)
    return doors


def _load_all() -> None:
    """Load what is imported on the way: the folders of this program and of Python may be closed to others."""
    from importlib import import_module

    for name in _ON_THE_WAY:
        import_module(name)


_ON_THE_WAY: Final = (
    *("encodings.ascii", "encodings.latin_1", "encodings.idna", "http.cookiejar", "queue", "hmac", "ssl"),
    *(
        f"device_auth.{name}"
        for name in (
            *(
                "assembly.announcing",
                "assembly.opened_parts",
                "assembly.parts",
                "core.linking",
                "core.policy",
            ),
            *("prompts.terminal", "prompts.view_changes", "service.loop", "service.provider_client"),
            *("wire.lwa", "wire.rfc8628", "world.bounded", "world.connections", "world.dialing"),
            *("world.disks", "world.owners", "world.provider", "world.signals", "world.transport"),
            "world.wiping",
        )
    ),
)


class _LifeOfALink:
    """One link, from its code to its end; each part is a check, and its time a measurement.

    Args:
        talk: of the verb.
        doors: of the profile.
    """

    def __init__(self, talk: Talk, doors: Doors) -> None:
        self._talk = talk
        self._doors = doors
        self._speaker = LocalSpeaker(doors)
        self._began = doors.clock.now()
        self._user_code = ""
        self._trouble = Trouble.NONE

    def live(self) -> None:
        """Go through all parts; after one that fails the others make no sense."""
        parts = {
            "link": self._link,
            "refresh": self._refresh,
            "rotated-refresh": self._rotated_refresh,
            "revocation": self._revocation,
            "unlink": self._unlink,
        }
        for name, part in parts.items():
            self._began = self._doors.clock.now()
            failure = part()
            seconds = self._doors.clock.now() - self._began
            if failure is not None:
                self._talk.check(name, CheckOutcome.FAIL, failure.reason, seconds, failure.exit_code)
                return
            self._talk.check(name, CheckOutcome.PASS, "", seconds)
            self._talk.measure(f"{name}-seconds", round(seconds, 3), "s")

    def _link(self) -> "_Failure | None":
        audience = Audience(
            is_read=self._talk.header is None, is_on_a_terminal=False, has_qr=False, follow=self._follow
        )
        result = self._speaker.link(LinkOptions(False, None, False), audience)
        if result.ending is Ending.LINKED:
            return None
        if result.ending in {Ending.CANCELLED, Ending.HUNG_UP}:
            raise KeyboardInterrupt
        error = error_of(result.refusal or unexplained())
        return _Failure(str(error), error.exit_code)

    def _follow(self, view: View) -> None:
        """Tell the station of a new code, and people of a trouble."""
        if view.trouble is not self._trouble:
            self._trouble = view.trouble
            if view.trouble is not Trouble.NONE:
                say(f"device-auth: {TROUBLES[view.trouble].sentence}")
        pair = view.code_pair
        if pair is None or pair.user_code == self._user_code:
            return
        self._user_code = pair.user_code
        left = max(0, int(pair.expires_at - self._doors.clock.now()))
        self._talk.measure("code-seconds", round(self._doors.clock.now() - self._began, 3), "s")
        self._talk.say(
            CodeEvent(pair.user_code, pair.verification_uri, pair.prefilled_uri, left, int(pair.interval))
        )
        self._talk.say(WaitEvent("approval"))
        # the time of the owner is none of the unit's
        self._began = self._doors.clock.now()

    def _refresh(self) -> "_Failure | None":
        former = self._stored_token()
        ended = self._refresh_once()
        if isinstance(ended, _Failure):
            return ended
        self._was_replaced = former != self._stored_token()
        return None

    def _rotated_refresh(self) -> "_Failure | None":
        if not self._was_replaced:
            return _Failure(
                "the provider gave no new refresh token with the last refresh: start it with --rotate"
            )
        ended = self._refresh_once()
        return ended if isinstance(ended, _Failure) else None

    def _revocation(self) -> "_Failure | None":
        self._talk.say(WaitEvent("revocation"))
        doors = self._doors
        while True:
            doors.clock.take(SimpleQueue[None](), later(doors.clock.now(), LOOKS_EVERY))
            ended = self._refresh_once()
            if isinstance(ended, _Failure):
                break
        link = doors.store.read()
        status = self._speaker.status()
        if ended.trouble is not Trouble.REVOKED or status.trouble is not Trouble.REVOKED:
            return _Failure(f"it was not noticed as a revocation: {ended.reason}", ended.exit_code)
        if link is None or link.mark is not Mark.REVOKED or doors.tokens.read() is not None:
            return _Failure("the revoked link is still served")
        return None

    def _unlink(self) -> "_Failure | None":
        self._speaker.unlink(is_wipe=True)
        if self._speaker.status().trouble is Trouble.NONE and self._doors.store.read() is None:
            return None
        return _Failure("a link is left after the unlink")

    def _refresh_once(self) -> "TokenGrant | _Failure":
        doors = self._doors
        with locked(doors):
            loop = refresh(doors, usable(doors.store.read()))
        keeping, view = loop.keeping, loop.view()
        if keeping is not None and keeping.grant is not None:
            return keeping.grant
        if view.refusal is None:
            return _Failure(f"no fresh access token came ({view.trouble})", trouble=view.trouble)
        error = error_of(view.refusal)
        return _Failure(str(error), error.exit_code, view.refusal.trouble)

    def _stored_token(self) -> Secret:
        return usable(self._doors.store.read()).refresh_token


class _Failure(NamedTuple):
    """Why a part failed."""

    reason: str
    exit_code: int = 69
    trouble: Trouble = Trouble.NONE
