"""Whether a run has judged its unit; the first run of each unit, by one pass over the runs.

A run that was aborted has judged nothing, nor has one that the station's own trouble ended.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

from device_auth.factory.station.records.migrations.versions import views_2

revision: Final = "judged_3"
down_revision: Final = "views_2"
branch_labels: Final = None
depends_on: Final = None

_COUNTED: Final = "outcome IS NOT NULL AND is_judged AND NOT is_golden AND dut_id <> 'UNKNOWN_DUT'"

_NUMBERED_RUN: Final = f"""
CREATE VIEW numbered_run AS
SELECT run.*,
       row_number() OVER (PARTITION BY dut_id ORDER BY order_millis, run_uuid) AS number,
       count(*) OVER (PARTITION BY dut_id) AS runs,
       last_value(outcome) OVER (PARTITION BY dut_id ORDER BY order_millis, run_uuid
                                 ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS last_outcome
FROM run
WHERE {_COUNTED}
"""

_FIRST_RUN: Final = f"""
CREATE VIEW first_run AS
SELECT run_uuid, dut_id, product_uuid, batch, order_millis, outcome, runs, last_outcome
FROM (SELECT run_uuid, dut_id, product_uuid, batch, order_millis, outcome,
             first_value(run_uuid) OVER unit AS first_run_uuid,
             count(*) OVER unit AS runs,
             last_value(outcome) OVER unit AS last_outcome
      FROM run
      WHERE {_COUNTED}
      WINDOW unit AS (PARTITION BY dut_id ORDER BY order_millis, run_uuid
                      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)) AS counted
WHERE run_uuid = first_run_uuid
"""

_YIELD: Final = """
CREATE VIEW first_pass_yield AS
SELECT product.name AS product, product.part_number, product.revision, first_run.batch,
       count(*) AS units,
       sum(CASE WHEN outcome = 'PASS' THEN 1 ELSE 0 END) AS passed_first,
       sum(CASE WHEN last_outcome = 'PASS' THEN 1 ELSE 0 END) AS passed_last,
       CAST(sum(runs - 1) AS BIGINT) AS retests
FROM first_run
JOIN product ON product.product_uuid = first_run.product_uuid
GROUP BY product.name, product.part_number, product.revision, first_run.batch
"""


def upgrade() -> None:
    """Add the column, and make the views anew."""
    views_2.downgrade()
    op.add_column("run", sa.Column("is_judged", sa.Boolean, nullable=False, server_default=sa.text("true")))
    op.execute("UPDATE run SET is_judged = false WHERE outcome = 'ABORTED'")
    for statement in (_NUMBERED_RUN, _FIRST_RUN, views_2.UNIT_OUTCOME, _YIELD, views_2.RETEST):
        op.execute(statement)


def downgrade() -> None:
    """Take both back."""
    for name in ("retest", "first_pass_yield", "unit_outcome", "first_run", "numbered_run"):
        op.execute(f"DROP VIEW {name}")
    op.drop_column("run", "is_judged")
    views_2.upgrade()
