"""The views: which run of its unit each is, what became of each unit, the yield.

A run that was aborted has judged nothing, and one of a golden unit judges the station: neither counts. A run whose unit
never said a DSN is the only one of an unknown unit.
"""

from typing import Final

from alembic import op

revision: Final = "views_2"
down_revision: Final = "tables_1"
branch_labels: Final = None
depends_on: Final = None

_NUMBERED_RUN: Final = """
CREATE VIEW numbered_run AS
SELECT run.*,
       row_number() OVER (PARTITION BY dut_id ORDER BY order_millis, run_uuid) AS number,
       count(*) OVER (PARTITION BY dut_id) AS runs,
       last_value(outcome) OVER (PARTITION BY dut_id ORDER BY order_millis, run_uuid
                                 ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS last_outcome
FROM run
WHERE outcome IS NOT NULL AND outcome <> 'ABORTED' AND NOT is_golden AND dut_id <> 'UNKNOWN_DUT'
"""

UNIT_OUTCOME: Final = """
CREATE VIEW unit_outcome AS
SELECT dut_id, board, product_uuid, batch, station_id, run_uuid, outcome, outcome_details, order_millis, runs
FROM numbered_run
WHERE number = runs
"""

_YIELD: Final = """
CREATE VIEW first_pass_yield AS
SELECT product.name AS product, product.part_number, product.revision, first.batch,
       count(*) AS units,
       sum(CASE WHEN first.outcome = 'PASS' THEN 1 ELSE 0 END) AS passed_first,
       sum(CASE WHEN first.last_outcome = 'PASS' THEN 1 ELSE 0 END) AS passed_last,
       CAST(sum(first.runs - 1) AS BIGINT) AS retests
FROM numbered_run AS first
JOIN product ON product.product_uuid = first.product_uuid
WHERE first.number = 1
GROUP BY product.name, product.part_number, product.revision, first.batch
"""

RETEST: Final = """
CREATE VIEW retest AS
SELECT run_uuid, dut_id, number, outcome, outcome_details, station_id, slot, order_millis
FROM numbered_run
WHERE number > 1
"""


def upgrade() -> None:
    """Make the views."""
    for statement in (_NUMBERED_RUN, UNIT_OUTCOME, _YIELD, RETEST):
        op.execute(statement)


def downgrade() -> None:
    """Drop the views; no data is in them."""
    for name in ("retest", "first_pass_yield", "unit_outcome", "numbered_run"):
        op.execute(f"DROP VIEW {name}")
