"""The tables: runs and what was measured in them, units, DSNs and what became of them."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "tables_1"
down_revision: Final = None
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "station",
        sa.Column("station_id", sa.Text, primary_key=True),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("next_token", sa.Text, nullable=False, server_default=""),
        sa.Column("version", sa.Text, nullable=False, server_default=""),
        sa.Column("seen_millis", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "product",
        sa.Column("product_uuid", sa.Text, primary_key=True),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("name", "part_number", "revision", "product_id", "client_id")
        ),
    )
    op.create_table(
        "unit",
        sa.Column("board", sa.Text, primary_key=True),
        sa.Column("is_scrapped", sa.Boolean, nullable=False, server_default=sa.text("false")),
        *(
            sa.Column(name, sa.Text)
            for name in (
                "boardname",
                "board_revision",
                "eth_mac",
                "wifi_mac",
                "bt_mac",
                "mmc_size",
                "mmc_cid",
                "rpi_duid",
                "processor",
                "memory",
                "manufacturer",
                "secure",
                "jtag_locked",
                "os_image_filename",
                "os_image_sha256",
                "customer_key_fingerprint",
                "provision_ts",
            )
        ),
        sa.Column("facts", sa.JSON),
        sa.Column("order_millis", sa.BigInteger, nullable=False),
    )
    _make_runs()
    _make_dsns()
    op.create_table(
        "outbox",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )


def _make_runs() -> None:
    op.create_table(
        "run",
        sa.Column("run_uuid", sa.Text, primary_key=True),
        sa.Column("dut_id", sa.Text, nullable=False),
        sa.Column("board", sa.Text, nullable=False),
        sa.Column("station_id", sa.Text, nullable=False),
        sa.Column("station_version", sa.Text, nullable=False),
        sa.Column("slot", sa.Text, nullable=False),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("product_uuid", sa.Text, sa.ForeignKey("product.product_uuid"), nullable=False),
        sa.Column("batch", sa.Text, nullable=False),
        sa.Column("is_golden", sa.Boolean, nullable=False),
        sa.Column("start_time_millis", sa.BigInteger, nullable=False),
        sa.Column("end_time_millis", sa.BigInteger),
        sa.Column("order_millis", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double),
        sa.Column("outcome", sa.Text),
        sa.Column("outcome_details", sa.Text, nullable=False, server_default=""),
        sa.Column("host_key_fingerprint", sa.Text, nullable=False, server_default=""),
    )
    op.create_index("ix_run_dut_id_order_millis", "run", ["dut_id", "order_millis"])
    op.create_index("ix_run_order_millis", "run", ["order_millis"])
    op.create_table(
        "phase",
        sa.Column("run_uuid", sa.Text, sa.ForeignKey("run.run_uuid"), primary_key=True),
        sa.Column("phase", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("start_time_millis", sa.BigInteger, nullable=False),
        sa.Column("end_time_millis", sa.BigInteger, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("details", sa.Text, nullable=False),
    )
    # a report over a hundred thousand runs reads these alone
    op.create_index("ix_phase_name_seconds_run_uuid", "phase", ["name", "seconds", "run_uuid"])
    not_passed = sa.text("outcome <> 'PASS'")
    op.create_index(
        "ix_phase_not_passed",
        "phase",
        ["name", "outcome", "run_uuid"],
        postgresql_where=not_passed,
        sqlite_where=not_passed,
    )
    op.create_table(
        "measurement",
        sa.Column("run_uuid", sa.Text, sa.ForeignKey("run.run_uuid"), primary_key=True),
        sa.Column("phase", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("number", sa.Double),
        sa.Column("other", sa.JSON),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("minimum", sa.Double),
        sa.Column("maximum", sa.Double),
    )
    # which other unit has said the same text
    is_other = sa.text("other IS NOT NULL")
    op.create_index(
        "ix_measurement_text",
        "measurement",
        ["name", sa.text("CAST(other AS TEXT)")],
        postgresql_where=is_other,
        sqlite_where=is_other,
    )
    op.create_table(
        "attachment",
        sa.Column("run_uuid", sa.Text, sa.ForeignKey("run.run_uuid"), primary_key=True),
        sa.Column("phase", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("mimetype", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def _make_dsns() -> None:
    is_free, is_blocked = sa.text("station_id IS NULL"), sa.text("state = 'blocked'")
    op.create_table(
        "dsn_block",
        sa.Column("block_uuid", sa.Text, primary_key=True),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("first", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("station_id", sa.Text),
    )
    # without it SKIP LOCKED reads every block that was ever taken
    op.create_index(
        "ix_dsn_block_free",
        "dsn_block",
        ["product", "first"],
        postgresql_where=is_free,
        sqlite_where=is_free,
    )
    op.create_table(
        "dsn",
        sa.Column("dsn", sa.Text, primary_key=True),
        sa.Column("block_uuid", sa.Text, sa.ForeignKey("dsn_block.block_uuid"), nullable=False),
        sa.Column("product", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("station_id", sa.Text),
        sa.Column("board", sa.Text, nullable=False, server_default=""),
        sa.Column("run_uuid", sa.Text, nullable=False, server_default=""),
        sa.Column("moves", sa.Integer, nullable=False, server_default=sa.text("0")),
    )
    op.create_index("ix_dsn_board", "dsn", ["board"])
    op.create_index("ix_dsn_block_uuid", "dsn", ["block_uuid"])
    op.create_index(
        "ix_dsn_blocked",
        "dsn",
        ["product", "station_id", "dsn"],
        postgresql_where=is_blocked,
        sqlite_where=is_blocked,
    )
    op.create_table(
        "identity_event",
        sa.Column("event_uuid", sa.Text, primary_key=True),
        sa.Column("dsn", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("board", sa.Text, nullable=False),
        sa.Column("run_uuid", sa.Text, nullable=False),
        sa.Column("station_id", sa.Text, nullable=False),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("time_millis", sa.BigInteger, nullable=False),
        sa.Column("order_millis", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_identity_event_dsn", "identity_event", ["dsn"])


def downgrade() -> None:
    """Drop the tables, with all that is in them."""
    for name in (
        "outbox",
        "identity_event",
        "dsn",
        "dsn_block",
        "attachment",
        "measurement",
        "phase",
        "run",
        "unit",
        "product",
        "station",
    ):
        op.drop_table(name)
