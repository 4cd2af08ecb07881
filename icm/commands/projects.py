"""Commands about projects, which own jobs. Like those about keys they use the database."""

from typing import Annotated, Any

import typer

from icm.commands.keys import DatabaseUrl, DataDir, with_store
from icm.commands.options import Json
from icm.commands.output import on_stdout, plain_table, write_json, write_line
from service.access.issuing import limit_project, list_projects
from service.access.quotas import QUOTA_NAMES
from service.records.access import Project


def list_(*, database_url: DatabaseUrl = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """List projects with their special quotas; --json prints one line for each."""
    table = plain_table("name", "created", "quotas")
    for project in with_store(list_projects, database_url, data_dir):
        if as_json:
            write_json(_document(project))
        table.add_row(project.name, f"{project.created_at:%Y-%m-%d}", _quotas_in_words(project))
    if not as_json:
        on_stdout().print(table)


def limit(
    name: Annotated[str, typer.Argument(help="Name of the project.")],
    quotas: Annotated[
        list[str],
        typer.Argument(help=f"QUOTA=NUMBER (0 means no limit) or QUOTA=default. Quotas: {', '.join(QUOTA_NAMES)}."),
    ],
    *,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Set special quotas for a project."""
    changes = dict(map(_parsed, quotas))
    project = with_store(lambda store: limit_project(store, name, changes), database_url, data_dir)
    if as_json:
        write_json(_document(project))
        return
    write_line(on_stdout(), f"{project.name}: {_quotas_in_words(project) or 'the default quotas'}")


def build_group() -> typer.Typer:
    """Build `icm projects` with its commands."""
    group = typer.Typer(help="List projects and limit them.", no_args_is_help=True, add_completion=False)
    group.command("list")(list_)
    group.command()(limit)
    return group


def _parsed(text: str) -> tuple[str, int | None]:
    name, _, number = text.partition("=")
    if number == "default":
        return name, None
    if not (number.isascii() and number.isdecimal()):
        raise typer.BadParameter(f"{text}: write QUOTA=NUMBER or QUOTA=default")
    return name, int(number)


def _quotas_in_words(project: Project) -> str:
    return " ".join(f"{name}={limit}" for name, limit in sorted(project.quotas.items()))


def _document(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "created_at": project.created_at.isoformat(),
        "quotas": dict(project.quotas),
    }
