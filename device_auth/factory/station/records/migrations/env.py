"""Run the migrations on the connection that ``schema`` gives, or write them out as SQL; Alembic runs this file."""

from alembic import context

from device_auth.factory.station.records.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    context.configure(
        dialect_name=context.config.attributes["dialect"],
        target_metadata=metadata,
        literal_binds=True,
        transactional_ddl=True,
    )
else:
    # SQLite takes changes of tables back like any other: the whole upgrade, or nothing of it
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
