"""The database behind a service on this machine, for commands that use it without the API."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icm.errors import IcmError
from icm.local_stack.embedded_postgres import EmbeddedPostgres, running_url
from icm.local_stack.stack import StackOptions
from migrations.commands import upgrade

DEFAULT_FOLDER = Path("data")


class NoDatabase(IcmError):
    """The data folder has no database."""


@contextmanager
def opened(database_url: str | None, data_dir: Path | None) -> Iterator[str]:
    """Yield the URL of a database: of the named data folder, else the given one, else of ./data.

    If `icm serve` does not run the embedded database, this context runs it.
    Raises NoDatabase and EmbeddedPostgresError.
    """
    if database_url is not None and data_dir is None:
        yield database_url
        return
    folder = (data_dir or DEFAULT_FOLDER).absolute()
    root = StackOptions(data_folder=folder, folder_was_named=data_dir is not None).database_folder
    running = running_url(root)
    if running is not None:
        yield running
        return
    if not (root / "data").is_dir():
        raise NoDatabase(
            f"{folder} has no database: give --data-dir as to `icm serve`, or --database-url, or set DATABASE_URL"
        )
    with EmbeddedPostgres(root) as server:
        asyncio.run(upgrade(server.url))
        yield server.url
