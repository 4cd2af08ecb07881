"""Stores a database of this release: `python -m tests.golden.make_database v0.1`, once for each release.

A folder that is there already is never written over: later releases have promised to go on with what is in it.
"""

import asyncio
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

from icm.local_stack.embedded_postgres import EmbeddedPostgres, reachable_root
from migrations.commands import upgrade
from service.storage.store import PostgresStore
from tests.golden.dump import Dump, taken
from tests.golden.installation import DATABASES, Installation, set_up


async def filled(database_url: str) -> tuple[Dump, Installation]:
    """Fill an empty database; returns its contents."""
    await upgrade(database_url)
    store = PostgresStore(database_url)
    try:
        installation = await set_up(store)
    finally:
        await store.close()
    return await taken(database_url), installation


def main(release: str) -> None:
    """Store the release's database. Raises FileExistsError if it has one."""
    folder = DATABASES / release
    if folder.exists():
        raise FileExistsError(f"{folder} is there already, and a release's database is never written over")
    root = reachable_root(Path(tempfile.gettempdir()) / f"icm-golden-{uuid.uuid4().hex[:12]}")
    try:
        with EmbeddedPostgres(root, durable=False) as server:
            dump, installation = asyncio.run(filled(server.url))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    folder.mkdir()
    dump.write(folder / "rows.jsonl")
    installation.write(folder / "expected.json")


if __name__ == "__main__":
    [_, given] = sys.argv
    main(given)
