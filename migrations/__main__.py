"""Migrates the database: `python -m migrations upgrade` waits for it to start and brings it up to date."""

import argparse
import asyncio
import sys

from migrations.commands import check, downgrade, upgrade
from service.errors import StorageUnavailable
from service.settings import settings_of_process


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0 if it succeeded, 1 if the database could not be reached in time."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    parser.add_argument("command", choices=("upgrade", "downgrade", "check"))
    parser.add_argument("revision", nargs="?", help="default: head for upgrade, base for downgrade")
    parser.add_argument("--database-url", help="default: ICM_DATABASE_URL or DATABASE_URL")
    parser.add_argument("--wait-seconds", type=float, default=60.0, help="how long to wait for the database")
    given = parser.parse_args(arguments)
    url = given.database_url or settings_of_process().database_url.get_secret_value()
    try:
        if given.command == "upgrade":
            asyncio.run(upgrade(url, given.revision or "head", wait_seconds=given.wait_seconds))
        elif given.command == "downgrade":
            asyncio.run(downgrade(url, given.revision or "base"))
        else:
            asyncio.run(check(url))
    except StorageUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
