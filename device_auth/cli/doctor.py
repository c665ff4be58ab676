"""``device-auth doctor``: find out what is wrong and what to do; it reads everything and changes nothing."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from device_auth import __version__
from device_auth.assembly.doors import Doors, open_doors
from device_auth.assembly.hardware_parts import read_hardware
from device_auth.assembly.local import locked, refresh, usable
from device_auth.assembly.service import SOCKET
from device_auth.cli.output import print_json, print_line
from device_auth.client import Client, ClientError
from device_auth.core.errors import ConfigError, StoreError
from device_auth.core.models import DialectName, Flow, Link, Seconds, Secret
from device_auth.core.ports import Transport
from device_auth.core.public import rfc3339
from device_auth.core.states import Trouble
from device_auth.doctor import board, client, clock, link, network, runtime, service, storage
from device_auth.doctor.check_run import CheckResult, Progress, causes_first, examine, exit_code_of, in_order
from device_auth.doctor.context import DoctorContext, is_closed
from device_auth.doctor.credential_probe import ANSWER_TIMEOUT, CredentialProbe, provider_of
from device_auth.doctor.findings import Check, Finding, Verdict, ok
from device_auth.doctor.private import learn_from_machine, learn_from_settings, learn_from_speaker
from device_auth.doctor.provider_probe import make_probe
from device_auth.doctor.redaction import Redaction
from device_auth.doctor.rendering import TextStyle, as_fields, as_text
from device_auth.doctor.report import ReportFile, write_report
from device_auth.prompts.stderr import USUAL_COLUMNS, say
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument(
        "--online",
        action="store_true",
        help="also refresh the access token once, to see whether the provider still honours the link",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        type=Path,
        help="also write everything that was found into this file, with what is private masked, to be sent to others",
    )


def run(args: argparse.Namespace) -> int:
    """Examine the speaker, and return the exit code.

    Raises:
        StoreError: if the report cannot be written.
    """
    return examine_speaker(open_doors(vars(args)), is_online=args.online, report=args.report)


def examine_speaker(
    speaker: Doors, *, is_online: bool = False, report: Path | None = None, root: Path = ROOT
) -> int:
    """Examine a speaker, print the findings, and return the exit code.

    Raises:
        StoreError: if the report cannot be written.
    """
    speaker.for_owner = True
    file = None if report is None else ReportFile(report)
    context = open_context(speaker, root=root)
    redaction = Redaction()
    with ExitStack() as opened:
        opened.enter_context(_redacted_log(redaction, is_verbose="verbose" in speaker.options))
        stored = _stored(context)
        opened.enter_context(speaker.simulated_amazon(stored))
        settings, problems = _settings(speaker, context.places)
        learn_from_settings(redaction, settings)
        learn_from_machine(redaction, context)
        checks = compose(speaker, context, settings, problems, stored, is_online=is_online)
        learning = Check("S0", "private", partial(learn_from_speaker, redaction, context))
        learnt, *found = examine([learning, *checks], speaker.clock, _progress(is_dumb=speaker.is_dumb))
    if learnt.finding.verdict is not Verdict.OK:
        say("device-auth: not all that is private could be found out, so some of it may not be masked below")
    redaction.learn_facts(each.finding for each in found)
    examined = causes_first([CheckResult(each.check, redaction.finding(each.finding)) for each in found])
    at = rfc3339(speaker.clock.wall())
    if speaker.is_json:
        print_json(as_fields(examined, at=at, version=__version__))
    else:
        for line in as_text(examined, _text_style(speaker)):
            print_line(line)
    if file is not None:
        file.write(write_report(context, settings, examined, redaction, at=at))
        say(f"Wrote {report}. What is private is masked; read it before you send it.")
    return exit_code_of(examined)


def compose(
    speaker: Doors,
    context: DoctorContext,
    settings: Settings,
    problems: Sequence[ConfigError],
    stored: Link | None,
    *,
    is_online: bool,
) -> list[Check]:
    """Return every check, in the order in which they are shown."""
    probe = credential_probe = None
    # A problem with the certificate file has its own finding: without the file no server is trusted.
    with suppress(ConfigError):
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
            *network.checks(probe, credential_probe, network.Machine(context.root)),
            *client.checks(
                settings,
                [each for each in problems if each not in unread],
                credential_probe,
                _link_secret(context, settings, stored),
                hidden=context.refusal() if context.is_closed or unread else "",
                is_unread=bool(unread),
            ),
            *link.checks(context, partial(_refresh, speaker, context) if is_online else None),
            *board.checks(context, read_plan, hidden=context.refusal() if unread else ""),
            *service.checks(context),
        ]
    )


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


def _settings(speaker: Doors, places: Places) -> tuple[Settings, list[ConfigError]]:
    """Return the settings as far as they can be read, and the problems of the rest."""
    if speaker.is_simulated:
        return speaker.settings, []
    return gather_settings(speaker.options, places.files)


def _stored(context: DoctorContext) -> Link | None:
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
        places = system._replace(files=files, new_config_file=places.new_config_file)
    keys = ONLY_PLAIN if speaker.is_simulated else find_keys(_settings(speaker, places)[0])
    return DoctorContext(places, speaker.clock, is_system=is_system, keys=keys, root=root)


def _text_style(speaker: Doors) -> TextStyle:
    """Return the style that the output can show."""
    is_terminal = sys.stdout.isatty()
    return TextStyle(
        columns=_columns(sys.stdout) if is_terminal else USUAL_COLUMNS,
        encoding=sys.stdout.encoding or "ascii",
        has_colour=is_terminal and not speaker.is_colourless,
        has_facts="verbose" in speaker.options,
    )


def _columns(stream: TextIO) -> int:
    """Return the width of a terminal; a serial line does not know its own."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_COLUMNS
    except OSError:
        return USUAL_COLUMNS


def _progress(*, is_dumb: bool) -> Progress:
    """Return what shows the running checks on a terminal that overwrites lines; its line is wiped at the end."""
    if is_dumb or not sys.stderr.isatty():
        return lambda _done, _of, _under_way: None

    def tell(done: int, of: int, under_way: Sequence[str]) -> None:
        text = f"{done} of {of}: {', '.join(under_way)}" if under_way else ""
        width = _columns(sys.stderr) - 1
        sys.stderr.write(f"\r{text[:width]:<{width}}\r")
        sys.stderr.flush()

    return tell


@contextmanager
def _redacted_log(redaction: Redaction, *, is_verbose: bool) -> Iterator[None]:
    """Redact the log meanwhile, and drop it without ``--verbose``: the findings report it all."""

    def redact(record: logging.LogRecord) -> bool:
        record.msg, record.args, record.exc_info = redaction.text(record.getMessage()), (), None
        return is_verbose

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(redact)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(redact)
