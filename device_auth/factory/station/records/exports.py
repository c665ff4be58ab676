"""Runs in the forms that others read: OpenHTF's record as JSON, JUnit's XML, CSV with columns that stay.

A new column or member is only ever added at the end; none changes its meaning.
"""

import base64
import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, select

from device_auth.core.models import UnixTime
from device_auth.core.public import rfc3339
from device_auth.factory.station.records.databases import reading
from device_auth.factory.station.records.tables import attachment, measurement, phase, product, run, unit

RUN_COLUMNS: Final = (
    "run_uuid",
    "dut_id",
    "board",
    "outcome",
    "outcome_details",
    "start_time",
    "seconds",
    "station_id",
    "station_version",
    "slot",
    "operator",
    "product",
    "part_number",
    "revision",
    "batch",
    "is_golden",
    "host_key_fingerprint",
    "is_judged",
)
"""Of the CSV of runs."""

MEASUREMENT_COLUMNS: Final = (
    "run_uuid",
    "dut_id",
    "start_time",
    "phase",
    "attempt",
    "name",
    "value",
    "unit",
    "outcome",
    "minimum",
    "maximum",
)
"""Of the CSV of measurements."""

AT_ONCE: Final = 500
"""Runs that are held in memory."""

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would run. Source: OWASP, CSV Injection."""


def read_runs(engine: Engine, since: int = 0, run_uuid: str = "") -> Iterator[dict[str, Any]]:
    """Read runs that have ended, as OpenHTF's record has them, in the order in which they began.

    Args:
        engine: of the records.
        since: only runs that began then or later; milliseconds since 1970.
        run_uuid: only this run; empty for all.
    """
    wanted = (
        select(run, product.c.name, product.c.part_number, product.c.revision)
        .join(product)
        .where(run.c.outcome.is_not(None), run.c.order_millis >= since)
        .order_by(run.c.order_millis, run.c.run_uuid)
    )
    if run_uuid:
        wanted = wanted.where(run.c.run_uuid == run_uuid)
    with reading(engine) as connection:
        found = connection.execution_options(yield_per=AT_ONCE).execute(wanted).mappings()
        for rows in found.partitions(AT_ONCE):
            keys = [row["run_uuid"] for row in rows]
            phases = _by_run(connection, phase, keys)
            measured = _by_run(connection, measurement, keys)
            attached = _by_run(connection, attachment, keys)
            boards = unit.c.board.in_({row["board"] for row in rows})
            facts = {
                known.board: known.facts
                for known in connection.execute(select(unit.c.board, unit.c.facts).where(boards))
            }
            for row in rows:
                key = row["run_uuid"]
                yield _record(dict(row), phases[key], measured[key], attached[key], facts.get(row["board"]))


def _by_run(
    connection: Connection, table: Table, keys: Sequence[str]
) -> Mapping[str, list[Mapping[str, Any]]]:
    found: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    wanted = select(table).where(table.c.run_uuid.in_(keys)).order_by(*table.primary_key.columns)
    for row in connection.execute(wanted).mappings():
        found[row["run_uuid"]].append(dict(row))
    return found


def _record(
    row: Mapping[str, Any],
    phases: Sequence[Mapping[str, Any]],
    measured: Sequence[Mapping[str, Any]],
    attached: Sequence[Mapping[str, Any]],
    facts: Any,
) -> dict[str, Any]:
    return {
        "schema": 1,
        "run_uuid": row["run_uuid"],
        "dut_id": row["dut_id"],
        "station_id": row["station_id"],
        "start_time_millis": row["start_time_millis"],
        "end_time_millis": row["end_time_millis"],
        "seconds": row["seconds"],
        "outcome": row["outcome"],
        "outcome_details": row["outcome_details"],
        "metadata": {
            "board": row["board"],
            "slot": row["slot"],
            "operator": row["operator"],
            "product": row["name"],
            "part_number": row["part_number"],
            "revision": row["revision"],
            "batch": row["batch"],
            "is_golden": row["is_golden"],
            "host_key_fingerprint": row["host_key_fingerprint"],
            "station_version": row["station_version"],
            "order_millis": row["order_millis"],
            "unit": facts,
            "is_judged": row["is_judged"],
        },
        "phases": [
            {
                "name": each["name"],
                "attempt": each["attempt"],
                "outcome": each["outcome"],
                "start_time_millis": each["start_time_millis"],
                "end_time_millis": each["end_time_millis"],
                "seconds": each["seconds"],
                "exit_code": each["exit_code"],
                "details": each["details"],
                "measurements": [
                    {
                        "name": value["name"],
                        "measured_value": value["other"] if value["number"] is None else value["number"],
                        "units": value["unit"],
                        "outcome": value["outcome"],
                        "minimum": value["minimum"],
                        "maximum": value["maximum"],
                    }
                    for value in measured
                    if value["phase"] == each["phase"]
                ],
                "attachments": [
                    {
                        "name": kept["name"],
                        "mimetype": kept["mimetype"],
                        "data": base64.b64encode(kept["content"]).decode(),
                    }
                    for kept in attached
                    if kept["phase"] == each["phase"]
                ],
            }
            for each in phases
        ],
    }


def run_columns(record: Mapping[str, Any]) -> list[str]:
    """Return a run's row of the CSV of runs."""
    known = {**record, **record["metadata"], "start_time": _start_of(record)}
    return [_cell(known[name]) for name in RUN_COLUMNS]


def measurement_columns(record: Mapping[str, Any]) -> Iterator[list[str]]:
    """Return a run's rows of the CSV of measurements."""
    for step in record["phases"]:
        for each in step["measurements"]:
            yield [
                _cell(value)
                for value in (
                    record["run_uuid"],
                    record["dut_id"],
                    _start_of(record),
                    step["name"],
                    step["attempt"],
                    each["name"],
                    each["measured_value"],
                    each["units"],
                    each["outcome"],
                    each["minimum"],
                    each["maximum"],
                )
            ]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _start_of(record: Mapping[str, Any]) -> str:
    return rfc3339(UnixTime(record["start_time_millis"] / 1000))


def junit_suite(record: Mapping[str, Any]) -> str:
    """Return a run as a ``testsuite`` of JUnit's XML: each phase is a test case of the unit."""
    steps = record["phases"]
    suite = ET.Element(
        "testsuite",
        {
            "name": _xml(f"{record['dut_id']} at {record['station_id']}"),
            "id": record["run_uuid"],
            "timestamp": _start_of(record),
            "hostname": _xml(record["station_id"]),
            "time": f"{record['seconds'] or 0:.3f}",
            "tests": str(len(steps) + 1),
            "failures": str(sum(each["outcome"] == "FAIL" for each in (record, *steps))),
            "errors": str(sum(each["outcome"] not in {"PASS", "FAIL"} for each in (record, *steps))),
        },
    )
    for name, each, words in (
        *((each["name"], each, each["details"]) for each in steps),
        ("run", record, record["outcome_details"]),
    ):
        case = ET.SubElement(
            suite,
            "testcase",
            {
                "classname": _xml(record["dut_id"]),
                "name": _xml(name),
                "time": f"{each['seconds'] or 0:.3f}",
            },
        )
        if each["outcome"] != "PASS":
            kind = "failure" if each["outcome"] == "FAIL" else "error"
            ET.SubElement(case, kind, {"type": each["outcome"], "message": _xml(words)})
    return ET.tostring(suite, encoding="unicode")


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
