from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from device_auth.core.errors import ConfigError
from device_auth.factory.station.records import schema
from device_auth.factory.station.records.databases import open_database, read_address, reading, writing
from device_auth.factory.station.records.tables import metadata, run
from tests.factory.record_world import RecordWorld, begin, run_unit


def test_up_down_and_up_again_with_data_in_the_tables(world: RecordWorld) -> None:
    assert world.database is not None
    with world.station() as records:
        run_unit(records, "b1")
        records.push()

    schema.migrate(world.database, "tables_1")
    assert schema.revision_of(world.database) == "tables_1"
    assert world.count(run) == 1
    schema.migrate(world.database)
    with reading(world.database) as connection:
        assert connection.exec_driver_sql("SELECT units, passed_first FROM first_pass_yield").one() == (1, 1)
    schema.migrate(world.database, schema.NONE)
    assert schema.revision_of(world.database) == schema.NONE
    with reading(world.database) as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    schema.migrate(world.database)
    assert world.count(run) == 0


# of SQLite an index of an expression is not read back
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_the_migrations_make_the_tables_that_the_program_knows(world: RecordWorld) -> None:
    assert world.database is not None
    with reading(world.database) as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": False}
        )
        assert compare_metadata(context, metadata) == []


def test_a_station_pushes_nothing_into_other_tables(world: RecordWorld) -> None:
    assert world.database is not None
    schema.migrate(world.database, "tables_1")

    with world.station() as records:
        start = begin(records)
        assert records.push() >= 0
        with pytest.raises(ConfigError, match="the tables of revision tables_1") as refused:
            records.take_dsn(start, "b1")
        assert refused.value.exit_code == 78
        assert "factory database upgrade" in refused.value.hint


def test_tables_of_a_newer_program_are_left_alone(world: RecordWorld) -> None:
    assert world.database is not None
    with writing(world.database) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'later_9'")

    with pytest.raises(ConfigError, match="later_9"):
        schema.migrate(world.database)


def test_the_statements_for_an_administrator_make_the_same_tables(tmp_path: Path) -> None:
    database = open_database(read_address(f"sqlite:///{tmp_path}/by-hand.sqlite"))
    with writing(database) as connection:
        for statement in schema.write_sql("sqlite").replace("BEGIN;", "").replace("COMMIT;", "").split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)

    assert schema.revision_of(database) == schema.NEWEST
    database.dispose()


def test_statements_are_written_for_postgresql_too() -> None:
    written = schema.write_sql("postgresql")

    assert "WHERE station_id IS NULL" in written
    assert written.rstrip().endswith("COMMIT;")
