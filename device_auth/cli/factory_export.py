"""``device-auth factory export``: hand the records of runs on, in the forms that others read."""

import argparse
import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from device_auth.cli.output import print_json, print_line
from device_auth.cli.station_records import add_choice, open_records, read_since


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_choice(parser)
    parser.add_argument(
        "--format",
        choices=tuple(_FORMATS),
        default="json",
        help="json: a run a line, as OpenHTF has it; junit: XML; csv: a run a line; measurements: CSV, one a line",
    )
    parser.add_argument("--run", metavar="UUID", help="only this run")


def run(args: argparse.Namespace) -> int:
    """Print the runs."""
    since = read_since(args)
    with open_records(args) as opened:
        from device_auth.factory.station.records.exports import read_runs

        _FORMATS[args.format](read_runs(opened.engine, since, args.run or ""))
    return 0


def _print_json(records: Iterator[Mapping[str, Any]]) -> None:
    for record in records:
        print_json(record)


def _print_junit(records: Iterator[Mapping[str, Any]]) -> None:
    from device_auth.factory.station.records.exports import junit_suite

    print_line('<?xml version="1.0" encoding="utf-8"?>')
    print_line("<testsuites>")
    for record in records:
        print_line(junit_suite(record))
    print_line("</testsuites>")


def _print_runs(records: Iterator[Mapping[str, Any]]) -> None:
    from device_auth.factory.station.records.exports import RUN_COLUMNS, run_columns

    _print_csv(RUN_COLUMNS)
    for record in records:
        _print_csv(run_columns(record))


def _print_measurements(records: Iterator[Mapping[str, Any]]) -> None:
    from device_auth.factory.station.records.exports import MEASUREMENT_COLUMNS, measurement_columns

    _print_csv(MEASUREMENT_COLUMNS)
    for record in records:
        for row in measurement_columns(record):
            _print_csv(row)


def _print_csv(row: Sequence[str]) -> None:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(row)
    print_line(written.getvalue())


_FORMATS: Final[Mapping[str, Callable[[Iterator[Mapping[str, Any]]], None]]] = {
    "json": _print_json,
    "junit": _print_junit,
    "csv": _print_runs,
    "measurements": _print_measurements,
}
