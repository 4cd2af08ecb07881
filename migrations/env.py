"""Alembic's entry point: runs migrations on a given connection, or on a new one for the command line."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from service.settings import Settings
from service.storage.engine import create_engine
from service.storage.tables import metadata

_LOCK = 4_921_350_127  # key of an advisory lock, so that concurrent migrations run one after the other


def migrate(connection: Connection) -> None:
    """Run the requested migrations in one transaction."""
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        context.run_migrations()


async def migrate_configured_database() -> None:
    """Run the requested migrations on the database of the settings."""
    engine = create_engine(Settings().database_url.get_secret_value(), pool_size=1, application_name="icm-migrate")
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(migrate_configured_database())
else:
    migrate(given)
