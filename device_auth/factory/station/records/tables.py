"""The tables of the records: the same at a station (SQLite) and in the database of all stations (PostgreSQL or SQLite).

The one idea: a row has the same key everywhere, so that a row that is pushed twice is one row. What happened is only ever
added (run, phase, measurement, attachment, identity_event); what stands now (unit, dsn) only ever goes forward.

The migrations make these tables; a test compares the two.
"""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

FREE: Final = "free"
BLOCKED: Final = "blocked"
GIVEN: Final = "given"
WRITTEN: Final = "written"
LOCKED: Final = "locked"
BURNT: Final = "burnt"

DSN_STATES: Final = (FREE, BLOCKED, GIVEN, WRITTEN, LOCKED, BURNT)
"""The states of a DSN in the order in which it goes through them: free, in a station's block, given to a unit, read back from
it, locked in it; burnt: never to be used again."""

PROVISIONED: Final = (
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
"""What is known of a unit's board, by rpi-sb-provisioner's names."""

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

station: Final = Table(
    "station",
    metadata,
    Column("station_id", Text, primary_key=True),
    # Held by the one folder that is this station; see push.
    Column("token", Text, nullable=False),
    Column("next_token", Text, nullable=False, server_default=""),
    Column("version", Text, nullable=False, server_default=""),
    Column("seen_millis", BigInteger, nullable=False),
)

product: Final = Table(
    "product",
    metadata,
    Column("product_uuid", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("part_number", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("product_id", Text, nullable=False),
    Column("client_id", Text, nullable=False),
)

unit: Final = Table(
    "unit",
    metadata,
    # The serial number of its board, or what else stays the same on it.
    Column("board", Text, primary_key=True),
    Column("is_scrapped", Boolean, nullable=False, server_default=text("false")),
    *(Column(name, Text) for name in PROVISIONED),
    # unit.json of the last run, whole
    Column("facts", JSON(none_as_null=True)),
    Column("order_millis", BigInteger, nullable=False),
)

run: Final = Table(
    "run",
    metadata,
    Column("run_uuid", Text, primary_key=True),
    Column("dut_id", Text, nullable=False),
    Column("board", Text, nullable=False),
    Column("station_id", Text, nullable=False),
    Column("station_version", Text, nullable=False),
    Column("slot", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("product_uuid", Text, ForeignKey("product.product_uuid"), nullable=False),
    Column("batch", Text, nullable=False),
    Column("is_golden", Boolean, nullable=False),
    Column("start_time_millis", BigInteger, nullable=False),
    Column("end_time_millis", BigInteger),
    Column("order_millis", BigInteger, nullable=False),
    Column("seconds", Double),
    # null: begun, and not ended yet
    Column("outcome", Text),
    Column("outcome_details", Text, nullable=False, server_default=""),
    Column("host_key_fingerprint", Text, nullable=False, server_default=""),
    # false: it says nothing of its unit, for it was aborted, or the station's own trouble ended it
    Column("is_judged", Boolean, nullable=False, server_default=text("true")),
    Index(None, "dut_id", "order_millis"),
    Index(None, "order_millis"),
)

phase: Final = Table(
    "phase",
    metadata,
    Column("run_uuid", Text, ForeignKey("run.run_uuid"), primary_key=True),
    Column("phase", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("start_time_millis", BigInteger, nullable=False),
    Column("end_time_millis", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("exit_code", Integer),
    Column("details", Text, nullable=False),
    Index(None, "name", "seconds", "run_uuid"),
    Index(
        "ix_phase_not_passed",
        "name",
        "outcome",
        "run_uuid",
        postgresql_where=text("outcome <> 'PASS'"),
        sqlite_where=text("outcome <> 'PASS'"),
    ),
)

measurement: Final = Table(
    "measurement",
    metadata,
    Column("run_uuid", Text, ForeignKey("run.run_uuid"), primary_key=True),
    Column("phase", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    # a number stands in number alone, another value as JSON has it in other
    Column("number", Double),
    Column("other", JSON(none_as_null=True)),
    Column("unit", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("minimum", Double),
    Column("maximum", Double),
    Index(
        "ix_measurement_text",
        "name",
        text("CAST(other AS TEXT)"),
        postgresql_where=text("other IS NOT NULL"),
        sqlite_where=text("other IS NOT NULL"),
    ),
)

attachment: Final = Table(
    "attachment",
    metadata,
    Column("run_uuid", Text, ForeignKey("run.run_uuid"), primary_key=True),
    Column("phase", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("mimetype", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

dsn_block: Final = Table(
    "dsn_block",
    metadata,
    Column("block_uuid", Text, primary_key=True),
    Column("product", Text, nullable=False),
    # in the order in which blocks are taken
    Column("first", Text, nullable=False),
    Column("size", Integer, nullable=False),
    # null as long as no station has it
    Column("station_id", Text),
    Index(
        "ix_dsn_block_free",
        "product",
        "first",
        postgresql_where=text("station_id IS NULL"),
        sqlite_where=text("station_id IS NULL"),
    ),
)

dsn: Final = Table(
    "dsn",
    metadata,
    Column("dsn", Text, primary_key=True),
    Column("block_uuid", Text, ForeignKey("dsn_block.block_uuid"), nullable=False),
    Column("product", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("station_id", Text),
    # of the unit that it was given to; empty if none, or if nothing stays the same on that one
    Column("board", Text, nullable=False, server_default=""),
    Column("run_uuid", Text, nullable=False, server_default=""),
    # how often it was moved to another board
    Column("moves", Integer, nullable=False, server_default=text("0")),
    Index(None, "board"),
    Index(
        "ix_dsn_blocked",
        "product",
        "station_id",
        "dsn",
        postgresql_where=text("state = 'blocked'"),
        sqlite_where=text("state = 'blocked'"),
    ),
    Index(None, "block_uuid"),
)

identity_event: Final = Table(
    "identity_event",
    metadata,
    Column("event_uuid", Text, primary_key=True),
    Column("dsn", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("board", Text, nullable=False),
    Column("run_uuid", Text, nullable=False),
    Column("station_id", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("time_millis", BigInteger, nullable=False),
    Column("order_millis", BigInteger, nullable=False),
    Index(None, "dsn"),
)

outbox: Final = Table(
    "outbox",
    metadata,
    # At a station: which rows the database of all stations does not have yet. Empty there.
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("table_name", Text, nullable=False),
    Column("key", Text, nullable=False),
    sqlite_autoincrement=True,
)
