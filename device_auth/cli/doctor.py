"""``device-auth doctor``: find out what is wrong, say what to do; looks at everything and changes nothing."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from device_auth import __version__
from device_auth.cli.output import USUAL_COLUMNS, print_json, print_line, rfc3339
from device_auth.cli.speaker import Speaker, open_speaker
from device_auth.doctor import storage
from device_auth.doctor.examination import Examined, Progress, examine, exit_code_of, in_order
from device_auth.doctor.findings import Check
from device_auth.doctor.redaction import Redaction
from device_auth.doctor.rendering import Sheet, as_fields, as_text
from device_auth.doctor.scene import Scene
from device_auth.world.places import ROOT, read_places
from device_auth.world.settings import ENVIRONMENT

SYSTEM_SOCKET: Final = Path("run/device-auth/api.sock")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is the verb's own: nothing."""
    del parser


def run(args: argparse.Namespace) -> int:
    """Carry out the verb; gives the exit code."""
    return examine_speaker(open_speaker(args))


def examine_speaker(speaker: Speaker, *, root: Path = ROOT) -> int:
    """Examine a speaker and tell what was found; gives the exit code."""
    scene = open_scene(speaker, root=root)
    redaction = Redaction()
    with _redacted_log(redaction, is_verbose="verbose" in speaker.options):
        found = examine(compose(scene), speaker.clock, _progress())
    redaction.learn_facts(each.finding for each in found)
    examined = [Examined(each.check, redaction.finding(each.finding)) for each in found]
    if speaker.is_json:
        print_json(as_fields(examined, at=rfc3339(speaker.clock.wall()), version=__version__))
    else:
        for line in as_text(examined, _sheet(speaker)):
            print_line(line)
    return exit_code_of(examined)


def compose(scene: Scene) -> list[Check]:
    """Put together every check, in the order in which they are shown."""
    return in_order([*storage.checks(scene)])


def open_scene(speaker: Speaker, *, root: Path = ROOT) -> Scene:
    """Find out which speaker is meant: where none is named, that of the system's service, if there is one."""
    places, named = speaker.places, {"simulate", "state_dir", "runtime_dir"} & speaker.options.keys()
    system = read_places({}, {}, euid=0, root=root)
    is_system = not named and (
        places.state_dir == system.state_dir
        or (root / SYSTEM_SOCKET).exists()
        or (system.state_dir.exists() and not places.state_dir.exists())
    )
    if is_system:
        places = system._replace(config_file=places.config_file, new_config_file=places.new_config_file)
    return Scene(places, speaker.clock, is_system=is_system, root=root)


def _sheet(speaker: Speaker) -> Sheet:
    """Find out what the output can show."""
    is_terminal = sys.stdout.isatty()
    return Sheet(
        columns=_columns(sys.stdout) if is_terminal else USUAL_COLUMNS,
        encoding=sys.stdout.encoding or "ascii",
        has_colour=is_terminal and not speaker.is_colourless and ENVIRONMENT.get("TERM") != "dumb",
        has_facts="verbose" in speaker.options,
    )


def _columns(stream: TextIO) -> int:
    """Give the width of a terminal; a serial line does not know its own."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_COLUMNS
    except OSError:
        return USUAL_COLUMNS


def _progress() -> Progress:
    """Say what is waited for, where a person looks on; it leaves no trace."""
    if not sys.stderr.isatty():
        return lambda _done, _of, _under_way: None

    def tell(done: int, of: int, under_way: Sequence[str]) -> None:
        text = f"{done} of {of}: {', '.join(under_way)}" if under_way else ""
        width = _columns(sys.stderr) - 1
        sys.stderr.write(f"\r{text[:width]:<{width}}\r")
        sys.stderr.flush()

    return tell


@contextmanager
def _redacted_log(redaction: Redaction, *, is_verbose: bool) -> Iterator[None]:
    """Redact what is logged meanwhile; keep it back unless it was asked for, as the findings say the same."""

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
