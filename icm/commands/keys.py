"""Commands about API keys. They use the database, not the API, so that making the first key needs no key."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from icm.commands.options import Json
from icm.commands.output import on_stderr, on_stdout, plain_table, write_json, write_line
from icm.local_stack.database import opened
from service.access.issuing import create_key, list_keys, revoke_key
from service.identifiers import DEFAULT_PROJECT
from service.ports.store import Store
from service.records.access import ApiKey, Scope
from service.storage.store import PostgresStore

T = TypeVar("T")

DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", envvar=["ICM_DATABASE_URL", "DATABASE_URL"], help="URL of the service's Postgres."),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of `icm serve`; takes precedence over a database URL. [default: data]")
]


def create(
    name: Annotated[str, typer.Argument(help="Purpose of the key, for lists.")],
    *,
    project: Annotated[str, typer.Option(help="Project that the key opens; a new name creates it.")] = DEFAULT_PROJECT,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="Scope of the key; repeat for several. [default: read and write]")
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, help="Days until the key expires; by default it never does.")
    ] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create an API key and print it, once."""
    scopes = scope or [Scope.READ, Scope.WRITE]
    lifetime = None if days is None else timedelta(days=days)
    key, made = with_store(
        lambda store: create_key(store, project=project, name=name, scopes=scopes, lifetime=lifetime),
        database_url,
        data_dir,
    )
    if as_json:
        write_json({**_document(key), "key": made.text})
        return
    write_line(on_stdout(), made.text)
    write_line(on_stderr(), f"key {key.id} of project {key.project}; no command shows it again")


def list_(
    *,
    project: Annotated[str | None, typer.Option(help="List only the keys of this project.")] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List API keys without their secrets; --json prints one line for each."""
    found = with_store(lambda store: list_keys(store, project=project), database_url, data_dir)
    table = plain_table("id", "project", "name", "scopes", "state", "created", "last used")
    for key in found:
        if as_json:
            write_json(_document(key))
        scopes = " ".join(sorted(key.scopes))
        times = (_day(key.created_at), _day(key.last_used_at))
        table.add_row(key.id, key.project, key.name, scopes, _state(key), *times)
    if not as_json:
        on_stdout().print(table)


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `icm keys list` shows it.")],
    *,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Revoke an API key, at once and for ever."""
    key = with_store(lambda store: revoke_key(store, key_id), database_url, data_dir)
    if as_json:
        write_json(_document(key))
        return
    write_line(on_stdout(), f"{key.id} {_state(key)}")


def build_group() -> typer.Typer:
    """Build `icm keys` with its commands."""
    group = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True, add_completion=False)
    group.command()(create)
    group.command("list")(list_)
    group.command()(revoke)
    return group


def with_store(action: Callable[[Store], Awaitable[T]], database_url: str | None, data_dir: Path | None) -> T:
    """Run an action on the service's database and return its value."""

    async def act(address: str) -> T:
        store = PostgresStore(address, pool_size=1)
        try:
            return await action(store)
        finally:
            await store.close()

    with opened(database_url, data_dir) as address:
        return asyncio.run(act(address))


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if not key.is_good(datetime.now(UTC)):
        return "expired"
    return "good" if key.expires_at is None else f"good until {_day(key.expires_at)}"


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d}"


def _document(key: ApiKey) -> dict[str, Any]:
    times = {name: getattr(key, name) for name in ("created_at", "expires_at", "revoked_at", "last_used_at")}
    return {
        "id": key.id,
        "project": key.project,
        "name": key.name,
        "scopes": sorted(key.scopes),
        **{name: None if moment is None else moment.isoformat() for name, moment in times.items()},
    }
