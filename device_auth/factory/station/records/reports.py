"""What a line wants to know of its runs: the yield, the retests, the time of each step, what fails.

One question each, which the database answers whole. Golden units judge the station, and are left out.
"""

from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from device_auth.factory.station.records.databases import reading

_COUNTED: Final = "run.outcome IS NOT NULL AND NOT run.is_golden AND run.order_millis >= :since"

_QUESTIONS: Final = {
    "outcomes": f"SELECT outcome, count(*) AS runs FROM run WHERE {_COUNTED} GROUP BY outcome ORDER BY outcome",
    "yields": """
        SELECT product.name AS product, product.part_number, product.revision, first_run.batch,
               count(*) AS units,
               sum(CASE WHEN outcome = 'PASS' THEN 1 ELSE 0 END) AS passed_first,
               sum(CASE WHEN last_outcome = 'PASS' THEN 1 ELSE 0 END) AS passed_last,
               CAST(sum(runs - 1) AS BIGINT) AS retests
        FROM first_run
        JOIN product ON product.product_uuid = first_run.product_uuid
        WHERE order_millis >= :since
        GROUP BY product.name, product.part_number, product.revision, first_run.batch
        ORDER BY product.name, product.part_number, product.revision, first_run.batch
    """,
    "failures": f"""
        SELECT phase.name AS step, phase.outcome, count(*) AS attempts
        FROM phase JOIN run ON run.run_uuid = phase.run_uuid
        WHERE {_COUNTED} AND phase.outcome <> 'PASS'
        GROUP BY phase.name, phase.outcome ORDER BY count(*) DESC, phase.name, phase.outcome LIMIT 20
    """,
}
"""Each part of the report, with the question that answers it."""


_STEPS_IN_POSTGRESQL: Final = f"""
    SELECT phase.name, count(*) AS attempts,
           percentile_disc(0.5) WITHIN GROUP (ORDER BY phase.seconds) AS p50,
           percentile_disc(0.95) WITHIN GROUP (ORDER BY phase.seconds) AS p95,
           max(phase.seconds) AS longest
    FROM phase JOIN run ON run.run_uuid = phase.run_uuid
    WHERE {_COUNTED}
    GROUP BY phase.name ORDER BY phase.name
"""

_LEFT_OUT: Final = "CREATE TEMPORARY TABLE left_out (run_uuid TEXT PRIMARY KEY) WITHOUT ROWID"

_LEAVE_OUT: Final = f"INSERT INTO left_out SELECT run_uuid FROM run WHERE NOT ({_COUNTED})"

_NAMES: Final = """
    SELECT name, count(*) AS attempts, max(seconds) AS longest FROM phase WHERE run_uuid NOT IN left_out
    GROUP BY name ORDER BY name
"""

_AT_PLACE: Final = """
    SELECT seconds FROM phase WHERE name = :name AND run_uuid NOT IN left_out ORDER BY seconds LIMIT 1 OFFSET :place
"""


def read_report(engine: Engine, since: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Return the parts of the report, each a list of rows.

    Args:
        engine: of the records.
        since: only runs from then on count; the first run of a unit stays the first. Milliseconds since 1970.
    """
    with reading(engine) as connection:
        report = {part: _ask(connection, question, since) for part, question in _QUESTIONS.items()}
        steps = (
            _ask(connection, _STEPS_IN_POSTGRESQL, since)
            if _is_postgresql(engine)
            else _steps(connection, since)
        )
        return report | {"steps": steps}


def _is_postgresql(engine: Engine) -> bool:
    return engine.dialect.name == "postgresql"


def _ask(connection: Connection, question: str, since: int, **given: object) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(question), {"since": since, **given}).mappings()]


def _steps(connection: Connection, since: int) -> list[dict[str, Any]]:
    """Return the times of each step. SQLite has no percentiles, and its windows take four times as long as its index."""

    def at(row: dict[str, Any], percent: int) -> float:
        place = -(-row["attempts"] * percent // 100) - 1
        return float(_ask(connection, _AT_PLACE, since, name=row["name"], place=place)[0]["seconds"])

    # found once, and not for each of the questions; what it is kept in belongs to this connection alone
    connection.execute(text(_LEFT_OUT))
    connection.execute(text(_LEAVE_OUT), {"since": since})
    steps = [
        {
            "name": row["name"],
            "attempts": row["attempts"],
            "p50": at(row, 50),
            "p95": at(row, 95),
            "longest": row["longest"],
        }
        for row in _ask(connection, _NAMES, since)
    ]
    connection.execute(text("DROP TABLE left_out"))
    return steps
