"""``device-auth simulator``: a simulated Amazon on loopback, until Ctrl-C."""

import argparse
import logging
import shlex
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from device_auth.assembly.doors import without_simulator
from device_auth.cli.output import print_json, print_line
from device_auth.core.errors import ConfigError
from device_auth.core.models import DialectName
from device_auth.world.clock import BootClock
from device_auth.world.signals import ENDINGS, handled, woken_by_signals

if TYPE_CHECKING:
    from device_auth.simulator.models import Options, RegisteredClient
    from device_auth.simulator.referee import RuleName

_LOG = logging.getLogger(__name__)

DEFAULT_PORT = 8100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default 127.0.0.1)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"0 for one that is free (default {DEFAULT_PORT})"
    )
    parser.add_argument(
        "--tls", type=Path, metavar="DIR", help="speak TLS, with a certificate authority kept in DIR"
    )
    parser.add_argument("--seed", metavar="TEXT", help="make the same codes and tokens each time")
    parser.add_argument(
        "--approve-after", type=float, metavar="S", help="an owner who approves by himself after S seconds"
    )
    parser.add_argument("--interval", type=int, default=30, metavar="S", help="between polls (default 30)")
    parser.add_argument("--code-lifetime", type=int, default=600, metavar="S", help="of a code (default 600)")
    parser.add_argument(
        "--token-lifetime", type=int, default=3600, metavar="S", help="of an access token (default 3600)"
    )
    parser.add_argument(
        "--clients-file",
        type=Path,
        metavar="FILE",
        help="the only clients, as TOML: [[client]] with id, secret, dialects, redirect_uris"
        " (mode 600; default: every well-formed client ID)",
    )
    parser.add_argument("--secrets-file", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument(
        "--redirect-uri",
        action="append",
        metavar="URI",
        help="an Allowed Return URL, may be given more than once (default: any https, and http on loopback)",
    )
    parser.add_argument(
        "--denial",
        choices=("access_denied", "invalid_code_pair", "silent"),
        default="access_denied",
        help="the answer of LWA's dialect after the owner has declined (default access_denied);"
        " silent: authorization_pending until the code expires",
    )
    parser.add_argument("--strict", action="store_true", help="make the referee's notes complaints")
    parser.add_argument(
        "--allow",
        action="append",
        metavar="NOTE",
        help="with --strict, leave this one a note, for instance poll-below-told; may be given more than once",
    )
    parser.add_argument(
        "--rotate",
        action="store_true",
        help="give a new refresh token with each refresh, and void the old one",
    )


def run(args: argparse.Namespace) -> int:
    """Run the simulated Amazon."""
    try:
        from device_auth.simulator.amazon import Amazon
        from device_auth.simulator.models import Denial, Options
        from device_auth.simulator.server import run_simulator
    except ImportError as error:
        raise without_simulator(error) from error
    _check(args)
    options = Options(
        interval=args.interval,
        code_lifetime=args.code_lifetime,
        token_lifetime=args.token_lifetime,
        rotates=args.rotate,
        approve_after=args.approve_after,
        clients=_read_clients(args),
        takes_others=args.clients_file is None,
        redirect_uris=frozenset(args.redirect_uri) if args.redirect_uri else None,
        denial=Denial(args.denial),
        is_strict=args.strict,
        allowed=_read_allowed(args.allow or [], is_strict=args.strict),
        seed=args.seed,
    )
    ending: SimpleQueue[None] = SimpleQueue()

    def tell(addresses: dict[str, str | None]) -> None:
        if "json" in vars(args):
            print_json(addresses)
            return
        for line in _instructions(addresses, options):
            print_line(line)

    amazon = Amazon(options, clock=BootClock().now)

    def end(*_: object) -> None:
        ending.put(None)

    # a signal just before the wait ends it too; no Event, whose set() could wait in the handler for a lock that wait() holds
    with handled(dict.fromkeys(ENDINGS, end)), woken_by_signals(end):
        run_simulator(amazon, announce=tell, wait=ending.get, host=args.host, port=args.port, tls=args.tls)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse figures out of their range.

    Raises:
        ConfigError: if an option is out of range; the message names it.
    """
    for name in ("interval", "code_lifetime", "token_lifetime"):
        if getattr(args, name) < 1:
            raise ConfigError(
                f"--{name.replace('_', '-')} is not a positive number of seconds", hint="Use 1 or more."
            )
    if args.approve_after is not None and not 0 <= args.approve_after < float("inf"):
        raise ConfigError("--approve-after is not a number of seconds", hint="Use 0 or more.")
    from device_auth.simulator.authorization import REDIRECT_URI_RULE, is_redirect_uri

    if not all(is_redirect_uri(each, None) for each in args.redirect_uri or ()):
        raise ConfigError(
            "--redirect-uri is not an allowed redirect address",
            hint=REDIRECT_URI_RULE,
        )


def _read_clients(args: argparse.Namespace) -> "dict[str, RegisteredClient]":
    """Return the clients of the file that the command line names.

    Raises:
        ConfigError: if the file cannot be read, or there are two.
    """
    from device_auth.simulator.clients_file import read_client_secrets, read_clients

    if args.secrets_file is None:
        return {} if args.clients_file is None else read_clients(args.clients_file)
    if args.clients_file is not None:
        raise ConfigError("--secrets-file is given with --clients-file", hint="Leave --secrets-file out.")
    _LOG.warning(
        "--secrets-file will be gone in the next version: name the clients in a --clients-file, where it says"
        " [[client]], id and secret"
    )
    return read_client_secrets(args.secrets_file)


def _read_allowed(names: list[str], *, is_strict: bool) -> "frozenset[RuleName]":
    """Return the rules that stay notes.

    Raises:
        ConfigError: if one is unknown or no note, or if no note becomes a complaint anyway.
    """
    from device_auth.simulator.referee import RULES

    notes = {name.value: name for name, rule in RULES.items() if rule.is_note}
    for name in names:
        if name not in notes:
            raise ConfigError(
                f"--allow {name} is not a note of the referee", hint=f"Use one of {', '.join(notes)}."
            )
    if names and not is_strict:
        raise ConfigError("--allow is given without --strict", hint="Without it, all notes stay notes.")
    return frozenset(notes[name] for name in names)


def _instructions(addresses: dict[str, str | None], options: "Options") -> list[str]:
    """Return the addresses, and commands that link with them by a client that is known."""
    trust = f" --ca-file {addresses['ca_file']}" if addresses["ca_file"] else ""
    commands = []
    lwa_client = _some_client(options, DialectName.LWA, f"amzn1.application-oa2-client.51{'0' * 29}5")
    if lwa_client is not None:
        speaker = f"--client-id {lwa_client} --product-id SimulatedSpeaker --dsn SIM0001"
        lwa = f"{speaker} --base-url {addresses['base_url']}"
        pages = f" --authorization-endpoint {addresses['authorization_url']}"
        commands += [f"link {lwa}{trust}", f"authorize {lwa}{pages}{trust}"]
    client = _some_client(options, DialectName.RFC8628, "simulated")
    if client is not None:
        provider = f"--dialect rfc8628 --client-id {shlex.quote(client)} --issuer {addresses['issuer']}"
        commands += [f"link {provider} --scope offline_access{trust}"]
    return [
        f"simulated Amazon: {addresses['origin']}",
        f"owner's page:     {addresses['verification_uri']}",
        f"sign-in page:     {addresses['authorization_url']}",
        f"control:          {addresses['control']}",
        *(
            f"{'or with:' if number else 'link with:':17} device-auth {command}"
            for number, command in enumerate(commands)
        ),
        "Ctrl-C stops it.",
    ]


def _some_client(options: "Options", dialect: DialectName, otherwise: str) -> str | None:
    """Return the ID of a client that may use a dialect, one without a secret if there is one; None if there is none."""
    if options.takes_others:
        return otherwise
    known = [name for name, client in options.clients.items() if dialect in client.dialects]
    return min(known, key=lambda name: options.clients[name].secret is not None, default=None)
