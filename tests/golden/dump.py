"""A whole database as text: the rows of every table, and the migration that created the tables.

Postgres writes each row as JSON and reads it again (bytes in its hexadecimal form), so that nothing here needs to know
the columns of a release that is long gone.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import orjson
from sqlalchemy import Table

from migrations.commands import upgrade
from service.storage.engine import driver_address
from service.storage.tables import metadata

_COUNTERS = """
    SELECT format('SELECT setval(pg_get_serial_sequence(%L, %L), max(%I)) FROM %I HAVING max(%I) IS NOT NULL',
                  table_name, column_name, column_name, table_name, column_name)
    FROM information_schema.columns WHERE table_schema = 'public' AND is_identity = 'YES'
"""


Row = dict[str, Any]


@dataclass(frozen=True)
class Dump:
    """The content of one file: a line about the whole, then for each table its columns and a line for each row."""

    revision: str
    taken_at: str  # by the database's clock, in ISO 8601
    tables: dict[str, list[Row]]  # in an order that satisfies foreign keys

    @classmethod
    def read(cls, path: Path) -> "Dump":
        """Read the dump from this file."""
        head, *lines = map(orjson.loads, path.read_bytes().splitlines())
        tables: dict[str, list[Row]] = {}
        for line in lines:
            if isinstance(line, dict):
                columns, rows = line["columns"], tables.setdefault(line["table"], [])
            else:
                rows.append(dict(zip(columns, line, strict=True)))
        return cls(**head, tables=tables)

    def write(self, path: Path) -> None:
        """Write a new file. Raises FileExistsError."""
        with path.open("xb") as file:
            file.writelines(orjson.dumps(line) + b"\n" for line in self._lines())

    def _lines(self) -> Iterator[object]:
        yield {"revision": self.revision, "taken_at": self.taken_at}
        for name, rows in self.tables.items():
            if rows:
                yield {"table": name, "columns": list(rows[0])}
                yield from (list(row.values()) for row in rows)

    @property
    def moment(self) -> datetime:
        """The time of the dump."""
        return datetime.fromisoformat(self.taken_at)


async def taken(database_url: str) -> Dump:
    """Dump a database of this release."""
    async with _connected(database_url) as connection, connection.transaction(isolation="repeatable_read"):
        revision = await connection.fetchval("SELECT version_num FROM alembic_version")
        now = await connection.fetchval("SELECT clock_timestamp()")
        tables = {table.name: await _rows_of(connection, table) for table in metadata.sorted_tables}
    return Dump(revision, now.isoformat(), tables)


async def _rows_of(connection: "asyncpg.Connection", table: Table) -> list[Row]:
    key = ", ".join(f'"{column.name}"' for column in table.primary_key)
    found = await connection.fetch(f'SELECT row_to_json(t)::text FROM "{table.name}" t ORDER BY {key}')  # noqa: S608
    return [orjson.loads(row[0]) for row in found]


async def restored(dump: Dump, database_url: str) -> None:
    """Create the tables of that release in an empty database and insert the rows."""
    await upgrade(database_url, dump.revision)
    async with _connected(database_url) as connection, connection.transaction():
        for name in reversed(dump.tables):
            await connection.execute(f'DELETE FROM "{name}"')  # noqa: S608 - rows that migrations have inserted
        for name, rows in dump.tables.items():
            statement = (
                f'INSERT INTO "{name}" OVERRIDING SYSTEM VALUE '  # noqa: S608
                f'SELECT * FROM json_populate_record(NULL::"{name}", $1::json)'
            )
            await connection.executemany(statement, [(orjson.dumps(row).decode(),) for row in rows])
        for found in await connection.fetch(_COUNTERS):
            await connection.execute(found[0])


@asynccontextmanager
async def _connected(database_url: str) -> AsyncIterator["asyncpg.Connection"]:
    address = driver_address(database_url)
    connection = await asyncpg.connect(address)
    try:
        yield connection
    finally:
        await connection.close()
