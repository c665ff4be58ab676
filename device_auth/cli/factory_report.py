"""``device-auth factory report``: the yield, the retests, the time of each step, what fails."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from device_auth.cli.output import print_json, print_line
from device_auth.cli.station_records import add_choice, open_records, read_since


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own arguments."""
    add_choice(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    since = read_since(args)
    with open_records(args) as opened:
        from device_auth.factory.station.records.reports import read_report

        report = read_report(opened.engine, since)
    if "json" in args:
        print_json(report)
        return 0
    for line in _lines(report):
        print_line(line)
    return 0


def _lines(report: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    outcomes = ", ".join(f"{row['runs']} {row['outcome']}" for row in report["outcomes"])
    yield f"runs: {outcomes or 'none'}"
    for row in report["yields"]:
        made = " ".join(row[name] for name in ("product", "part_number", "revision", "batch") if row[name])
        first, last = (100 * row[name] / row["units"] for name in ("passed_first", "passed_last"))
        yield (
            f"{made}: {row['units']} units, {first:.1f} % passed at once, {last:.1f} % in the end,"
            f" {row['retests']} retests"
        )
    if report["steps"]:
        yield f"{'step':16} {'attempts':>9} {'p50 s':>8} {'p95 s':>8} {'max s':>8}"
    for row in report["steps"]:
        times = " ".join(f"{row[name]:8.2f}" for name in ("p50", "p95", "longest"))
        yield f"{row['name']:16} {row['attempts']:9} {times}"
    for row in report["failures"]:
        yield f"{row['attempts']} x {row['step']}: {row['outcome']}"
