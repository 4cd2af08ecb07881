"""Lets time pass in a database without waiting: makes everything that is stored older."""

from datetime import timedelta

import asyncpg

# The statements that put columns of some types back by an interval.
_PUT_BACK = """
    SELECT format('UPDATE %I SET %I = (%I - $1::interval)::%s', table_name, column_name, column_name, data_type)
    FROM information_schema.columns
    WHERE table_schema = 'public' AND data_type = ANY($1)
"""


async def let_pass(connection: asyncpg.Connection, time: timedelta) -> None:
    """Put every stored time back by `time`, while nothing is under way; dates only if that is a day or more."""
    types = ["timestamp with time zone", *(["date"] if time >= timedelta(days=1) else [])]
    for row in await connection.fetch(_PUT_BACK, types):
        await connection.execute(row[0], time)
