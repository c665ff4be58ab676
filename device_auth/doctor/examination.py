"""The examination of a speaker: its context, its settings, and every check that there is."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from device_auth.assembly.doors import Doors
from device_auth.assembly.hardware_parts import read_hardware
from device_auth.assembly.local import locked, refresh, usable
from device_auth.assembly.service import SOCKET
from device_auth.client import Client, ClientError
from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.models import DialectName, Flow, Link, Seconds, Secret
from device_auth.core.ports import Transport
from device_auth.core.states import Trouble
from device_auth.core.values import replace
from device_auth.doctor import board, client, clock, link, network, runtime, service, storage
from device_auth.doctor.check_run import examine, in_order
from device_auth.doctor.context import DoctorContext, is_closed
from device_auth.doctor.credential_probe import ANSWER_TIMEOUT, CredentialProbe, provider_of
from device_auth.doctor.findings import Check, Finding, ok
from device_auth.doctor.provider_probe import make_probe
from device_auth.service.provider_client import ProviderClient
from device_auth.world.bounded import cancelled_after
from device_auth.world.keys import ONLY_PLAIN, find_keys
from device_auth.world.places import ROOT, Places, read_places
from device_auth.world.provider import provider_problems, read_authorities, read_provider, token_endpoints
from device_auth.world.settings import Settings, SettingsFiles, gather_settings
from device_auth.world.transport import HttpTransport
from hardware.board import BoardPlan

REFRESH_TIMEOUT: Final = Seconds(14)
"""How long a refresh may take; less than the check that waits for it is given."""

DISK_TIMEOUT: Final = Seconds(3)
"""How long the stored link may take to be read before the examination."""

SAID_ONCE: Final = (
    "That was said once, and is believed when it is said twice: ask again with device-auth token. Then link again:"
    " device-auth link"
)

LONGEST_LIFE: Final = 3600
"""Seconds that no access token of LWA outlives: to ask for one that lives so long is to ask for a new one."""


def compose(
    speaker: Doors,
    context: DoctorContext,
    settings: Settings,
    problems: Sequence[ConfigError],
    stored: Link | None,
    *,
    is_online: bool,
    has_network: bool = True,
) -> list[Check]:
    """Return every check, in the order in which they are shown.

    Args:
        speaker: is examined.
        context: of the checks.
        settings: as far as they can be read.
        problems: of the rest.
        stored: the stored link, if it can be read.
        is_online: one of them refreshes the access token.
        has_network: those of the network are among them, and the provider may be asked; else no request leaves.
    """
    probe = credential_probe = None
    # A problem with the certificate file has its own finding: without the file no server is trusted.
    with suppress(ConfigError):
        if has_network:
            authorities = read_authorities(settings)
            provider = provider_of(settings, stored)
            probe = make_probe(provider, authorities, settings.proxy, speaker.clock)
            if probe is not None:
                transport = HttpTransport(speaker.clock, authorities=authorities, proxy=settings.proxy)
                find_secret = partial(_find_secret, transport, context, settings, stored)
                credential_probe = CredentialProbe(transport, provider, find_secret=find_secret)

    def read_plan() -> BoardPlan:
        return read_hardware(settings.hardware, settings.hardware_of)[0]

    # That a user may not read the service's settings is no fault of theirs, and what stands in them is not known.
    unread = (
        [] if context.is_ours else [each for each in problems if isinstance(each.__cause__, PermissionError)]
    )
    return in_order(
        [
            *storage.checks(context),
            *runtime.checks(context),
            *clock.checks(probe, speaker.clock, uptime=context.root / "proc/uptime"),
            *(network.checks(probe, credential_probe, network.Machine(context.root)) if has_network else ()),
            *client.checks(
                settings,
                [each for each in problems if each not in unread],
                credential_probe,
                _link_secret(context, settings, stored),
                hidden=context.refused() if context.is_closed or unread else None,
                is_unread=bool(unread),
            ),
            *link.checks(context, partial(_refresh, speaker, context) if is_online else None),
            *board.checks(context, read_plan, hidden=context.refused() if unread else None),
            *service.checks(context),
        ]
    )


def open_context(speaker: Doors, *, root: Path = ROOT) -> DoctorContext:
    """Return the context of the named speaker, or else that of the system's service, if there is one."""
    places, named = speaker.places, {"simulate", "state_dir", "runtime_dir"} & speaker.options.keys()
    system = read_places({}, {}, euid=0, root=root)
    is_system = not named and (
        places.state_dir == system.state_dir
        or (root / SOCKET).exists()
        or (system.state_dir.exists() and not places.state_dir.exists())
    )
    if is_system:
        unit_files = SettingsFiles() if is_closed(system.state_dir) else system.files
        files = unit_files._replace(config=places.files.config)
        places = replace(system, files=files, new_config_file=places.new_config_file)
    keys = ONLY_PLAIN if speaker.is_simulated else find_keys(gather_for(speaker, places)[0])
    return DoctorContext(places, speaker.clock, is_system=is_system, keys=keys, root=root)


def gather_for(speaker: Doors, places: Places) -> tuple[Settings, list[ConfigError]]:
    """Return the settings as far as they can be read, and the problems of the rest."""
    if speaker.is_simulated:
        return speaker.settings, []
    return gather_settings(speaker.options, places.files)


def read_stored(context: DoctorContext) -> Link | None:
    """Return the stored link, if it can be read: the checks of the store report why it cannot.

    Reading is done like a check, as a disk may hang.
    """
    found: list[Link | None] = []

    def read() -> Finding:
        with suppress(StoreError):
            found.append(context.read_link())
        return ok("It was read.")

    examine([Check("S0", "stored-link", read, limit=DISK_TIMEOUT)], context.clock)
    return next(iter(found), None)


def _link_secret(context: DoctorContext, settings: Settings, stored: Link | None) -> client.LinkSecret | None:
    """Return what is to be known of the client secret of a link that may take one.

    An issuer's metadata is not asked for here: a refresh does that.
    """
    if stored is None or not (stored.takes_secret or stored.flow is Flow.AUTHORIZATION_CODE):
        return None
    endpoint = stored.token_endpoint
    is_named = bool(settings.issuer) or endpoint in token_endpoints(settings)
    return client.LinkSecret(endpoint, stored.takes_secret, context.is_link_sealed or is_named)


def _find_secret(
    transport: Transport, context: DoctorContext, settings: Settings, stored: Link | None
) -> Secret | None:
    """Return the client secret for requests that the provider refuses, by the rules for any other request."""
    if stored is None:
        return settings.client_secret if settings.dialect is DialectName.RFC8628 else None
    has_issuer = bool(settings.issuer) and not provider_problems(settings)
    provider_client = ProviderClient(
        transport,
        read_provider(settings) if has_issuer else None,
        settings.client_secret,
        secret_of=settings.client_id,
        is_trusted=lambda it: context.is_link_sealed or it.token_endpoint in token_endpoints(settings),
    )
    with cancelled_after(ANSWER_TIMEOUT, provider_client.abandon):
        return provider_client.secret_to_send(stored)


def _refresh(speaker: Doors, context: DoctorContext) -> tuple[float, Trouble, str]:
    """Refresh once: through the service if it runs, else as ``token`` does.

    Raises:
        DeviceAuthError: there is nothing to refresh with, or what comes of it could not be kept.
    """
    if context.daemon.is_running:
        return _refresh_by_service(context)
    with locked(speaker, REFRESH_TIMEOUT):
        # A provider may replace the refresh token: no refresh if the new one could not be stored.
        speaker.store.prove_writable()
        loop = refresh(speaker, usable(speaker.store.read()), REFRESH_TIMEOUT, asks_twice=False)
    keeping, view = loop.keeping, loop.view()
    if keeping is not None and keeping.grant is not None:
        return keeping.grant.expires_in, Trouble.NONE, ""
    if keeping is not None and keeping.is_doubted:
        return 0, Trouble.REVOKED, SAID_ONCE
    trouble = view.trouble if view.refusal is None else view.refusal.trouble
    return 0, trouble, view.hint


def _refresh_by_service(context: DoctorContext) -> tuple[float, Trouble, str]:
    with Client(str(context.socket), REFRESH_TIMEOUT) as service_client:
        try:
            return service_client.token(LONGEST_LIFE).expires_in, Trouble.NONE, ""
        except ClientError as error:
            with suppress(ClientError, ValueError):
                status = service_client.status()
                return 0, Trouble(status.trouble), status.hint
            return 0, Trouble.PROVIDER_UNAVAILABLE, str(error)
