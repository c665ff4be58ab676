"""The doors of one process: places, settings, store, clock and provider, real or simulated.

With ``--simulate`` everything lies in folders of its own and Amazon is simulated inside this process, so that
nothing real is ever touched. The provider's client is imported when a request is due: most calls of ``token`` and
``status`` read a file and are done.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from os import uname, urandom
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from device_auth.core.errors import ConfigError, DeviceAuthError, ProviderUnreachable
from device_auth.core.models import DialectName, Link, Seconds
from device_auth.core.unit import claim_new
from device_auth.core.values import replace
from device_auth.prompts.stderr import linked, shows_links
from device_auth.world.clock import BootClock
from device_auth.world.pending import FilePending
from device_auth.world.places import Places, read_places
from device_auth.world.settings import ENVIRONMENT, KEY_OF, Settings, read_settings
from device_auth.world.store import FileStore
from device_auth.world.token_files import FileTokens
from device_auth.world.unit import ROOT, ThisUnit, UnknownUnit

if TYPE_CHECKING:
    from collections.abc import Callable

    from device_auth.core.models import Monotonic, Provider, View
    from device_auth.core.ports import TokenFiles
    from device_auth.core.unit import UnitMarks
    from device_auth.service.loop import Loop
    from device_auth.service.provider_client import ProviderClient
    from device_auth.simulator.amazon import Amazon
    from device_auth.world.keys import Keys

APPROVE_AFTER: Final = Seconds(5)
"""How long the simulated owner takes."""

SIMULATED_INTERVAL: Final = 2
"""Seconds between polls of the simulated Amazon: a demonstration need not take half a minute."""

SIMULATED_CLIENT_ID: Final = "amzn1.application-oa2-client.51" + "0" * 29 + "5"
"""It has the form of Amazon's own client IDs."""


SIMULATED_HARDWARE: Final = {
    "board": "simulated",
    "panel": {"kind": "simulated"},
    "voice": {"kind": "simulated"},
}


class Doors:
    """Opens each part of the world once, when it is first needed.

    Args:
        options: the command line by name.
        places: where everything lies.
    """

    def __init__(self, options: Mapping[str, object], places: Places) -> None:
        self.options = options
        self.places = places
        self.clock = BootClock()
        # The service may use every key there is; a verb perhaps not.
        self.is_service = False
        # Root may read and try the folder of the service's user, for the doctor.
        self.for_owner = False
        # The file system of the machine whose board is looked at.
        self.machine = ROOT
        # The settings that a simulation sets.
        self._overlay: dict[str, object] = {}

    @property
    def is_simulated(self) -> bool:
        """Return whether nothing here is real."""
        return "simulate" in self.options

    @property
    def greeting(self) -> str:
        """Return what a simulation is, for a person who may never have seen one."""
        is_manual = self.options.get("simulate") == "manual"
        owner = (
            "you are its owner, and approve on its page on this machine"
            if is_manual
            else f"so is its owner, who approves after {APPROVE_AFTER:.0f} s: nobody need scan the code"
        )
        return f"A simulation: Amazon is simulated in this process, and {owner}."

    @property
    def is_json(self) -> bool:
        """Return whether a program reads stdout."""
        return "json" in self.options

    @property
    def is_colourless(self) -> bool:
        """Return whether colours are not wanted. Source: no-color.org; bixense.com/clicolors."""
        return self.is_dumb or bool(ENVIRONMENT.get("NO_COLOR")) or ENVIRONMENT.get("CLICOLOR") == "0"

    @property
    def is_dumb(self) -> bool:
        """Return whether a terminal here obeys no escape sequence, as in a shell of Emacs. Source: term(7)."""
        return ENVIRONMENT.get("TERM", "") in {"", "dumb"}

    @property
    def has_links(self) -> bool:
        """Return whether addresses on standard error are to be links: for people, on a terminal that has them."""
        is_terminal = sys.stderr.isatty() and not self.is_dumb
        return is_terminal and not self.is_json and shows_links(ENVIRONMENT)

    def as_link(self, address: str) -> str:
        """Return an address as a person is to see it: it can be clicked on where there are links."""
        return linked(address, address) if self.has_links else address

    @cached_property
    def settings(self) -> Settings:
        """Return the settings; a simulation reads the command line's only.

        Raises:
            ConfigError: if one of them cannot be used.
        """
        if self.is_simulated:
            settings = read_settings({**self.options, **self._overlay}, None, {})
            return replace(settings, hardware=SIMULATED_HARDWARE)
        return read_settings(self.options, self.places.files)

    @property
    def name(self) -> str:
        """Return what people call this speaker: the setting, else the host name."""
        name = ""
        with suppress(ConfigError):
            name = self.settings.name
        return name or uname().nodename

    @property
    def locale(self) -> str:
        """Return the locale of what people read here: the setting, English where the settings cannot be used."""
        with suppress(ConfigError):
            return self.settings.locale
        return str(KEY_OF["locale"].default)

    def forget_settings(self) -> None:
        """Drop the settings and the keys, so that they are read again when they are next needed."""
        self.__dict__.pop("settings", None)
        self.__dict__.pop("keys", None)

    def use_settings(self, settings: Settings, keys: "Keys") -> None:
        """Use these from now on."""
        self.__dict__.update(settings=settings, keys=keys)
        self.places = replace(self.places, files=settings.files)

    @cached_property
    def keys(self) -> "Keys":
        """Return the keys that a link may be sealed under; each is looked for when it is first used.

        Raises:
            ConfigError: if a setting cannot be used.
        """
        from device_auth.world.keys import ONLY_PLAIN, find_keys

        return ONLY_PLAIN if self.is_simulated else find_keys(self.settings)

    @cached_property
    def store(self) -> FileStore:
        """Return the store of the link."""
        return FileStore(
            self.places.state_dir,
            keys=lambda: self.keys,
            is_of_service=self.is_service,
            for_owner=self.for_owner,
            unit=self.unit,
        )

    @property
    def unit(self) -> "UnitMarks":
        """Return this unit; a simulated speaker is not told from others. Its settings are read when they are compared."""
        if self.is_simulated:
            return UnknownUnit()
        return ThisUnit(self.places.files, self.machine)

    @cached_property
    def doubt(self) -> str:
        """Return why what is stored may not outlast a power cut, and what to do; empty if it does."""
        from device_auth.world.disks import doubt_about

        doubt = doubt_about(self.places.state_dir, self.machine)
        return "" if doubt is None else f"{doubt.sentence} {doubt.hint}"

    @cached_property
    def pending(self) -> FilePending:
        """Return the store of the current code pair."""
        return FilePending(self.places.runtime_dir, self.clock)

    @cached_property
    def tokens(self) -> FileTokens:
        """Return the files of the access token."""
        return FileTokens(self.places.runtime_dir, self.clock)

    @property
    def amazon_memory(self) -> Path:
        """Return the file in which a simulated Amazon keeps its grants."""
        return self.places.state_dir / "amazon.json"

    def open_provider_client(self) -> "ProviderClient":
        """Return a client of the provider that the settings name.

        Raises:
            ConfigError: if they name none.
        """
        from device_auth.world.provider import read_provider

        return self._provider_client(read_provider(self.settings))

    def prove_route(self, url: str) -> None:
        """See that a request could leave for an address, without sending any.

        Raises:
            ConfigError: the proxy or the authorities cannot be used.
        """
        from device_auth.world.provider import read_authorities
        from device_auth.world.transport import route_to

        route_to(url, read_authorities(self.settings), self.settings.proxy).prove(url)

    def open_refreshing(self) -> "ProviderClient":
        """Return a client for a stored link, whose envelope names the provider.

        An issuer's metadata tells whether a client secret may go there.
        """
        from device_auth.world.provider import provider_problems, read_provider

        settings = self.settings
        wants_issuer = bool(settings.issuer) and settings.client_secret is not None and not self.is_service
        is_known = wants_issuer and not provider_problems(settings)
        return self._provider_client(read_provider(settings) if is_known else None)

    def open_loop(
        self,
        provider_client: "ProviderClient",
        tell: "Callable[[View], None]",
        tokens: "TokenFiles | None" = None,
        refresh_ended: "Callable[[Monotonic], None]" = lambda _: None,
    ) -> "Loop":
        """Return a loop that runs the machines on this speaker.

        Args:
            provider_client: speaks with the provider.
            tell: shows a view to people; must not block.
            tokens: where access tokens go; if None, into files.
            refresh_ended: called when a refresh has ended, with a token or without, with the moment of the next one.
        """
        from random import random  # noqa: TID251  the core takes chance as draws

        from device_auth.service.loop import Loop

        return Loop(
            provider_client=provider_client,
            store=self.store,
            pending=self.pending,
            tokens=tokens or self.tokens,
            clock=self.clock,
            tell=tell,
            chance=random,
            new_link_id=lambda: urandom(16).hex(),
            refresh_ended=refresh_ended,
            claim=lambda link: claim_new(link, self.unit),
            doubt=self.doubt,
        )

    def differences_from(self, link: Link) -> list[str]:
        """Return a sentence for each given setting that the stored link does not use."""
        from device_auth.world.provider import compare_with_link

        return [] if self.is_simulated else compare_with_link(self.settings, link)

    def _provider_client(self, provider: "Provider | None") -> "ProviderClient":
        from device_auth.service.provider_client import ProviderClient
        from device_auth.world.provider import read_authorities
        from device_auth.world.transport import HttpTransport

        # To the service a CA file that cannot be read is an answer to each request: it may be there for the next one.
        authorities = read_authorities(self.settings, is_proved=not self.is_service)
        transport = HttpTransport(self.clock, authorities=authorities, proxy=self.settings.proxy)
        return ProviderClient(
            transport,
            provider,
            self.settings.client_secret,
            secret_of=self.settings.client_id,
            poll_every=self.settings.poll_every,
            is_trusted=self._is_trusted,
        )

    def _is_trusted(self, link: Link) -> bool:
        from device_auth.world.provider import token_endpoints

        return (
            self.is_simulated or self.store.is_sealed or link.token_endpoint in token_endpoints(self.settings)
        )

    @contextmanager
    def simulated_amazon(self, link: Link | None) -> "Iterator[Amazon | None]":
        """Run a simulated Amazon in this process, if this is a simulation; else there is none.

        Args:
            link: the stored one, whose Amazon must listen at its old port.

        Raises:
            ConfigError: if the extra package is missing.
            ProviderUnreachable: if its port is taken.
        """
        if not self.is_simulated:
            yield None
            return
        # What runs the server comes first: without it nothing of the simulation is to be had.
        try:
            from device_auth.simulator.server import serve
        except ImportError as error:
            raise without_simulator(error) from error
        amazon = _make_amazon(self)
        port = 0 if link is None else urlsplit(link.token_endpoint).port or 0
        try:
            running = serve(amazon, port=port)
        except ConfigError as error:
            raise ProviderUnreachable(
                f"cannot start the simulated Amazon again: {error}",
                hint="End the other command with --simulate if there is one; else start afresh: device-auth unlink --simulate",
            ) from error
        with running:
            self._overlay["client_id"] = SIMULATED_CLIENT_ID
            if self.options.get("dialect") == DialectName.RFC8628:
                self._overlay["issuer"] = running.issuer
                self._overlay["scope"] = "offline_access"
            else:
                self._overlay.update(base_url=running.base_url, product_id="SimulatedSpeaker", dsn="SIM0001")
                self._overlay.update(authorization_endpoint=running.authorization_url)
            self.forget_settings()
            yield amazon


def open_doors(options: Mapping[str, object]) -> Doors:
    """Return the doors of the speaker that the command line names.

    Raises:
        ConfigError: if there is no folder for its state.
    """
    return Doors(options, read_places(options))


def without_simulator(error: ImportError) -> DeviceAuthError:
    """Return the error that tells what to install for the simulated Amazon; Flask brings what it needs."""
    from device_auth.installation import how_to_install, how_to_install_sibling

    if (error.name or "").startswith("device_auth.simulator"):
        return ConfigError(
            "the simulated Amazon is not installed",
            hint=how_to_install_sibling("device-auth-simulator"),
        )
    return ConfigError(
        f"the simulated Amazon needs the package Flask, which cannot be loaded: {error}",
        hint=how_to_install("flask"),
    )


def _make_amazon(doors: Doors) -> "Amazon":
    from device_auth.simulator.amazon import Amazon
    from device_auth.simulator.models import Options, RegisteredClient

    approve_after = None if doors.options["simulate"] == "manual" else APPROVE_AFTER
    secret = doors.settings.client_secret
    client = RegisteredClient(secret=None if secret is None else secret.reveal())
    return Amazon(
        Options(
            interval=SIMULATED_INTERVAL, approve_after=approve_after, clients={SIMULATED_CLIENT_ID: client}
        ),
        clock=doors.clock.now,
        memory=doors.amazon_memory,
    )
