"""``device-auth export``: hand the link to a client that keeps its own tokens.

Two programs must not use one refresh token: a refresh by one may replace it, and the other's then ends. So the link
is moved, unless a copy is requested. Only after the client's files are written, durable and read back is the link
marked here as moved.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Final

from device_auth.assembly.doors import Doors, open_doors
from device_auth.assembly.local import locked, usable
from device_auth.assembly.service import refuse_beside_service
from device_auth.cli.output import print_bytes, print_json, print_line
from device_auth.core.errors import ConfigError, NotLinked, StoreError, WrongUse
from device_auth.core.models import DialectName, Flow, Link, Secret, hand_over
from device_auth.prompts.stderr import say
from device_auth.tools import exports, exports_sdk, exports_text, exports_with_secret
from device_auth.world.envelope import KeyMissing, Plain, read_envelope, write_envelope
from device_auth.world.keys import ONLY_PLAIN
from device_auth.world.owners import Json, Question, as_owner, belongs_to_another
from device_auth.world.provider import first_locale
from device_auth.world.settings import add_secret_option
from device_auth.world.unit import read_serial_number

SDK: Final = exports_sdk.FORMAT
JAVA: Final = "avs-java-sample"
RESPEAKER: Final = "respeaker"
ALEXAPI: Final = "alexapi"
FORMATS: Final = {
    SDK: "Amazon's AVS Device SDK; --to is its AlexaClientSDKConfig.json",
    JAVA: "Amazon's Java sample; --to is its config.json",
    RESPEAKER: "ReSpeaker's avs; --to is its .avs.json",
    ALEXAPI: "AlexaPi; --to is its config.yaml",
    "env": "variables for a shell or systemd",
    "json": "one object",
}

STDOUT: Final = "-"

Planner = Callable[[Link, exports.Unit, Path], exports.ExportPlan]
Writer = Callable[[Link, exports.Unit], bytes]

PLANNERS: Final[dict[str, Planner]] = {
    JAVA: exports_text.plan_java_sample,
    RESPEAKER: exports_with_secret.plan_respeaker,
    ALEXAPI: exports_with_secret.plan_alexapi,
    "env": exports_text.plan_env,
    "json": exports_text.plan_json,
}
WRITERS: Final[dict[str, Writer]] = {"env": exports_text.write_env, "json": exports_text.write_json}
"""The formats that are a text by themselves, and no part of a client's files."""

WITH_SECRET: Final = {RESPEAKER, ALEXAPI}
"""The formats of clients that send a client secret with each refresh."""

SENDS_MORE: Final = "The client must be given the client secret as well, which is not exported."

WITH_ITS_KEY: Final = (
    "Bring the key within reach of this command, while the service stands still: docs/export.md says how."
)

TWO_USERS: Final = (
    "The link is here as well. Two programs that use one refresh token get in each other's way: "
    "to move it, run this command without --copy (with --to FILE)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    listed = "; ".join(f"{name}: {meaning}" for name, meaning in FORMATS.items())
    parser.add_argument("format", metavar="FORMAT", choices=tuple(FORMATS), help=listed)
    parser.add_argument(
        "--to", required=True, metavar="FILE", help="the client's file; - with --copy: env or json to stdout"
    )
    parser.add_argument(
        "--sdk",
        choices=tuple(exports_sdk.LAYOUTS),
        default="",
        help="which version of the SDK (default: as the client's databases show it)",
    )
    parser.add_argument("--copy", action="store_true", help="keep the link here as well")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    add_secret_option(parser)


def run(args: argparse.Namespace) -> int:
    """Export the link.

    Where root runs it, each user's files are touched by a child that has become that user: the service's by one, and
    the client's by another. Both are joined by this process, which reads only the settings and the key.
    """
    speaker = open_doors(vars(args))
    _check_use(args, speaker)
    refuse_beside_service(speaker)
    state = speaker.places.state_dir
    exports.load_libraries()
    if belongs_to_another(state):
        speaker.keys.load()
    exit_code: int = as_owner(
        state, lambda ask: _export(args, speaker, ask), lambda request: _serve_client(args, request)
    )
    return exit_code


def _export(args: argparse.Namespace, speaker: Doors, ask: Question) -> int:
    """Export the link, as the user whose link it is; ``ask`` reaches the client's files."""
    with nullcontext() if args.dry_run else locked(speaker):
        link = _exportable(args, speaker)
        if args.to == STDOUT:
            return _print(args, speaker, link)
        unit = _unit(args, speaker, link)
        request = {
            "link": write_envelope(link, Plain()).decode(),
            "unit": [unit.product_id, unit.dsn, unit.locale],
            "client_secret": None if unit.client_secret is None else unit.client_secret.reveal(),
            "needs_secret": _needs_secret(speaker, link),
        }
        told = ask({**request, "is_final": False})
        is_move = not (args.dry_run or args.copy)
        if is_move:
            speaker.store.prove_writable()  # a link that cannot be marked here is not exported
        if not args.dry_run:
            told = ask({**request, "is_final": True})
        if is_move:
            _let_go(args, speaker, link)
    _tell(args, speaker, told)
    return 0


def _serve_client(args: argparse.Namespace, request: Json) -> Json:
    """Plan the changes of the client's files as their user, or carry them out; return what is told of them."""

    def serve(_: Question) -> Json:
        plan = _make_plan(args, request)
        fields = _fields(args, plan)
        if request["is_final"]:
            exports.carry_out(plan)
            return fields, []
        return fields, list(exports.identities(plan))

    fields, identities = as_owner(_client_path(args), serve)
    exports.check_unused(identities)  # here, as only root sees the processes of every user
    return fields


def _client_path(args: argparse.Namespace) -> Path:
    """Return the path that decides as whom the client's files are touched."""
    path = Path(args.to)
    if args.format != SDK or os.geteuid() != 0 or belongs_to_another(path):
        return path
    databases = exports_sdk.database_paths(path)
    return next((database for database in databases if belongs_to_another(database)), path)


def _check_use(args: argparse.Namespace, speaker: Doors) -> None:
    """Raise ``WrongUse`` for options that do not go together."""
    if args.sdk and args.format != SDK:
        raise WrongUse(f"--sdk works with the format {SDK} only")
    if not args.to:
        raise WrongUse("--to is empty", hint="Name the client's file.")
    if args.to != STDOUT:
        return
    if args.format not in WRITERS:
        raise WrongUse(f"the format {args.format} needs a file", hint="Name the client's file with --to.")
    if not args.copy or args.dry_run or speaker.is_json:
        raise WrongUse(
            "--to - needs --copy without --dry-run and --json: a move needs a file that can be read back",
            hint="To move the link, name a file with --to.",
        )
    if sys.stdout.isatty():
        raise WrongUse(
            "the refresh token is not shown on a terminal, where it would stay in sight",
            hint="Name a file with --to, or send it on to a program: device-auth export … | program",
        )


def _exportable(args: argparse.Namespace, speaker: Doors) -> Link:
    """Return the link if another client can use it.

    Raises:
        DeviceAuthError: if there is none, or it cannot be used there.
    """
    try:
        link = usable(speaker.store.read())
    except KeyMissing as error:  # its hint is to start the service, but an export needs a stopped service
        raise StoreError(str(error), hint=WITH_ITS_KEY) from error
    if not link.is_proved:
        raise NotLinked(
            "the link is not proved yet: no refresh has shown that its refresh token holds",
            hint="Run: device-auth token. Then run this again.",
        )
    if args.format in WRITERS:
        return link
    if link.dialect is not DialectName.LWA:
        raise ConfigError(
            f"the link uses the dialect {link.dialect}, and that client works with Login with Amazon only",
            hint="Use the format json or env.",
        )
    if args.format in WITH_SECRET:
        if not _needs_secret(speaker, link):
            raise ConfigError(
                "that client sends a client secret with each refresh, and this link was made without one",
                hint="Link with the client's secret: device-auth authorize --again --client-secret-file FILE",
            )
        return link
    if _needs_secret(speaker, link):
        raise ConfigError(
            "refreshing this link takes a client secret, and that client sends none",
            hint="Link by a code, with a client ID that has no secret: device-auth link --again",
        )
    return link


def _needs_secret(speaker: Doors, link: Link) -> bool:
    """Return whether a refresh takes the client's secret, as the link says, or for an old one the settings."""
    is_given = _secret_of(speaker, link) is not None
    return link.takes_secret or (link.flow is Flow.AUTHORIZATION_CODE and is_given)


def _secret_of(speaker: Doors, link: Link) -> Secret | None:
    """Return the client secret of the settings, if it is that of the link's client."""
    settings = speaker.settings
    return settings.client_secret if settings.client_id in {"", link.client_id} else None


def _unit(args: argparse.Namespace, speaker: Doors, link: Link) -> exports.Unit:
    """Return product ID, DSN and locale of the settings, which only LWA has, and the secret where it is written."""
    settings = speaker.settings
    if link.dialect is not DialectName.LWA:
        return exports.Unit("", "", "")
    dsn = settings.dsn or read_serial_number()
    secret = _secret_of(speaker, link) if args.format in WITH_SECRET else None
    return exports.Unit(settings.product_id, dsn, first_locale(settings.locale), secret)


def _make_plan(args: argparse.Namespace, request: Json) -> exports.ExportPlan:
    link, _ = read_envelope(request["link"].encode(), ONLY_PLAIN.named)
    product_id, dsn, locale = request["unit"]
    secret = None if request["client_secret"] is None else Secret(request["client_secret"])
    unit, path = exports.Unit(product_id, dsn, locale, secret), Path(args.to)
    if args.format == SDK:
        return exports_sdk.plan(link, unit, path, args.sdk)
    plan = PLANNERS[args.format](link, unit, path)
    if request["needs_secret"] and args.format not in WITH_SECRET:
        return replace(plan, warnings=(*plan.warnings, SENDS_MORE))
    return plan


def _print(args: argparse.Namespace, speaker: Doors, link: Link) -> int:
    """Print the link itself."""
    print_bytes(WRITERS[args.format](link, _unit(args, speaker, link)))
    if _needs_secret(speaker, link):
        say(f"device-auth: {SENDS_MORE}")
    say(TWO_USERS)
    return 0


def _let_go(args: argparse.Namespace, speaker: Doors, link: Link) -> None:
    """Mark the link as the other client's; its refresh token is not kept.

    Raises:
        StoreError: if it cannot be marked, so that both have it.
    """
    path = os.fsencode(Path(args.to).absolute()).decode(errors="replace")
    speaker.tokens.withdraw()
    speaker.pending.forget()
    try:
        speaker.store.save(hand_over(link, f"{args.format}, {path}", speaker.clock.wall()))
    except StoreError as error:
        raise StoreError(
            f"the client has the link, but it could not be removed from this speaker: {error}",
            hint=f"{error.hint} Then run the same command again, before the client is started.",
        ) from error


# ---------------------------------------------------------------------------------------------------------
# Telling what was done


def _tell(args: argparse.Namespace, speaker: Doors, told: Json) -> None:
    if speaker.is_json:
        print_json(told)
        return
    for warning in told["warnings"]:
        say(f"device-auth: {warning}")
    if args.dry_run:
        for line in _lines(told["files"]):
            print_line(line)
        say("Nothing was changed.")
        return
    paths = ", ".join(file["file"] for file in told["files"])
    print_line(f"{'copied' if args.copy else 'moved'} to {paths}")
    for file in told["files"]:
        if file["backup"] is not None:
            say(f"The old {file['file']} is kept as {file['backup']}")
    say(told["next"])
    say(TWO_USERS if args.copy else "To have the link here again, link again: device-auth link")


def _fields(args: argparse.Namespace, plan: exports.ExportPlan) -> dict[str, object]:
    return {
        "format": args.format,
        "to": str(Path(args.to).absolute()),
        "dry_run": args.dry_run,
        "moved": not (args.dry_run or args.copy),
        "files": [
            {
                "file": str(file.old.path),
                "is_new": file.old.content is None,
                "backup": None if file.backup is None else str(file.backup),
                "changes": [
                    {"place": change.place, "old": change.old, "new": change.new} for change in file.changes
                ],
            }
            for file in plan.files
        ],
        "warnings": plan.all_warnings(),
        "next": plan.next_step,
    }


def _lines(files: Json) -> Iterator[str]:
    for file in files:
        what = "a new file" if file["is_new"] else "changes" if file["changes"] else "stays as it is"
        yield f"{file['file']}: {what}"
        for change in file["changes"]:
            yield f"  {change['place']}: {change['old'] or 'nothing'} → {change['new'] or 'nothing'}"
        if file["backup"] is not None:
            yield f"  the old one is kept as {file['backup']}"
