"""``device-auth doctor``: find out what is wrong and what to do; it reads everything and changes nothing."""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from device_auth import __version__
from device_auth.assembly.doors import Doors, open_doors
from device_auth.cli.output import print_json, print_line
from device_auth.core.public import rfc3339
from device_auth.doctor.check_run import CheckResult, Progress, causes_first, examine, exit_code_of
from device_auth.doctor.examination import compose, gather_for, open_context, read_stored
from device_auth.doctor.findings import Check, Verdict
from device_auth.doctor.private import learn_from_machine, learn_from_settings, learn_from_speaker
from device_auth.doctor.redaction import Redaction
from device_auth.doctor.rendering import TextStyle, as_fields, as_text
from device_auth.doctor.report import ReportFile, write_report
from device_auth.prompts.stderr import USUAL_COLUMNS, say, width_of
from device_auth.world.places import ROOT


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
        stored = read_stored(context)
        opened.enter_context(speaker.simulated_amazon(stored))
        settings, problems = gather_for(speaker, context.places)
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


def _text_style(speaker: Doors) -> TextStyle:
    """Return the style that the output can show."""
    is_terminal = sys.stdout.isatty()
    return TextStyle(
        columns=width_of(sys.stdout) if is_terminal else USUAL_COLUMNS,
        encoding=sys.stdout.encoding or "ascii",
        has_colour=is_terminal and not speaker.is_colourless,
        has_facts="verbose" in speaker.options,
    )


def _progress(*, is_dumb: bool) -> Progress:
    """Return what shows the running checks on a terminal that overwrites lines; its line is wiped at the end."""
    if is_dumb or not sys.stderr.isatty():
        return lambda _done, _of, _under_way: None

    def tell(done: int, of: int, under_way: Sequence[str]) -> None:
        text = f"{done} of {of}: {', '.join(under_way)}" if under_way else ""
        width = width_of(sys.stderr) - 1
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
