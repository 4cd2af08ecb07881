"""Alembic's entry: runs migrations on the connection given, or on one of its own for the command line."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from service.settings import Settings
from service.storage.engine import create_engine
from service.storage.tables import metadata

_LOCK = 4_921_350_127  # a number of our own, so that two who start at once migrate one after the other


def migrate(connection: Connection) -> None:
    """Run what Alembic was asked for, in one transaction."""
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        context.run_migrations()


async def migrate_configured_database() -> None:
    """The same on the database that the settings name."""
    engine = create_engine(Settings().database_url.get_secret_value(), pool_size=1, application_name="icm-migrate")
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(migrate_configured_database())
else:
    migrate(given)
