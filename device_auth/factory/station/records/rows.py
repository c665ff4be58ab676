"""Between the values of a run and the rows of the tables.

What a unit says of itself ends in rows: each text is cut and can be written by every database, each number fits.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final
from uuid import NAMESPACE_OID, uuid5

from device_auth.factory.station.records.tables import PROVISIONED
from device_auth.factory.station.run_record import (
    LARGEST_ATTACHMENT,
    Measurement,
    Product,
    RunPhase,
    RunRecord,
    RunStart,
)
from device_auth.factory.talk import RunOutcome

LONGEST_TEXT: Final = 4000
"""Characters."""

_LARGEST_WHOLE: Final = 2**31 - 1

Row = dict[str, Any]


def product_row(product: Product) -> Row:
    """Return the row of a product; equal products have one key at every station."""
    texts = (product.name, product.part_number, product.revision, product.product_id, product.client_id)
    return {
        "product_uuid": str(uuid5(NAMESPACE_OID, json.dumps(texts))),
        "name": product.name,
        "part_number": product.part_number,
        "revision": product.revision,
        "product_id": product.product_id,
        "client_id": product.client_id,
    }


def start_row(start: RunStart, version: str) -> Row:
    """Return the row of a run that is begun."""
    return {
        "run_uuid": start.run_uuid,
        "dut_id": "",
        "board": "",
        "station_id": start.station_id,
        "station_version": version,
        "slot": start.slot,
        "operator": plain_text(start.operator),
        "product_uuid": product_row(start.product)["product_uuid"],
        "batch": plain_text(start.batch),
        "is_golden": start.is_golden,
        "start_time_millis": start.start_time_millis,
        "order_millis": start.order_millis,
    }


def end_row(record: RunRecord) -> Row:
    """Return what the row of a run gets at its end."""
    return {
        "dut_id": plain_text(record.dut_id),
        "board": plain_text(record.board),
        "end_time_millis": record.end_time_millis,
        "seconds": record.seconds,
        "outcome": record.outcome.value,
        "outcome_details": plain_text(record.outcome_details),
        "host_key_fingerprint": plain_text(record.host_key_fingerprint),
        "is_judged": record.is_judged and record.outcome is not RunOutcome.ABORTED,
    }


def unit_row(record: RunRecord) -> Row:
    """Return the row of a run's unit."""
    facts = {plain_text(name): plain_value(value) for name, value in record.unit.items()}
    known = {name: None if facts.get(name) is None else str(facts[name]) for name in PROVISIONED}
    return {
        "board": plain_text(record.board),
        **known,
        "facts": facts,
        "order_millis": record.start.order_millis,
    }


def phase_rows(record: RunRecord) -> tuple[list[Row], list[Row], list[Row]]:
    """Return the rows of a run's phases, of their measurements and of their attachments."""
    phases, measurements, attachments = [], [], []
    for number, phase in enumerate(record.phases):
        key = {"run_uuid": record.start.run_uuid, "phase": number}
        phases.append(key | _phase_row(phase))
        measurements += [
            key | {"position": position} | _measurement_row(measured)
            for position, measured in enumerate(phase.measurements)
        ]
        attachments += [
            {
                **key,
                "position": position,
                "name": plain_text(attached.name),
                "mimetype": plain_text(attached.mimetype),
                "content": attached.content[-LARGEST_ATTACHMENT:],
            }
            for position, attached in enumerate(phase.attachments)
        ]
    return phases, measurements, attachments


def _phase_row(phase: RunPhase) -> Row:
    is_code = phase.exit_code is not None and abs(phase.exit_code) <= _LARGEST_WHOLE
    return {
        "name": plain_text(phase.name),
        "attempt": phase.attempt,
        "outcome": phase.outcome.value,
        "start_time_millis": phase.start_time_millis,
        "end_time_millis": phase.end_time_millis,
        "seconds": phase.seconds,
        "exit_code": phase.exit_code if is_code else None,
        "details": plain_text(phase.details),
    }


def _measurement_row(measured: Measurement) -> Row:
    value = plain_value(measured.value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "name": plain_text(measured.name),
        "number": float(value) if is_number else None,
        "other": None if is_number else value,
        "unit": plain_text(measured.unit),
        "outcome": measured.outcome.value,
        "minimum": measured.minimum,
        "maximum": measured.maximum,
    }


def plain_text(text: str) -> str:
    """Return a text as every database can keep it: cut, without NUL, in UTF-8."""
    return text[:LONGEST_TEXT].replace("\0", "").encode("utf-8", "replace").decode()


def plain_value(value: object) -> Any:
    """Return a value as JSON can hold it in every database: a number that fits or a text in its place."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else f"{value:x}"[:64]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {plain_text(str(name)): plain_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(each) for each in value]
    return plain_text(str(value))
