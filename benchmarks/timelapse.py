"""Lets time pass in a database without waiting: everything that is stored becomes so much older."""

from datetime import timedelta

import asyncpg

# Columns of some types, and the statement that puts each of them back by so much.
_PUT_BACK = """
    SELECT format('UPDATE %I SET %I = (%I - $1::interval)::%s', table_name, column_name, column_name, data_type)
    FROM information_schema.columns
    WHERE table_schema = 'public' AND data_type = ANY($1)
"""


async def let_pass(connection: asyncpg.Connection, time: timedelta) -> None:
    """Put every stored time back by so much; for moments at which nothing is under way. Days go by whole days alone."""
    types = ["timestamp with time zone", *(["date"] if time >= timedelta(days=1) else [])]
    for row in await connection.fetch(_PUT_BACK, types):
        await connection.execute(row[0], time)
