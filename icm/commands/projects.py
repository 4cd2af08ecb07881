"""Commands about projects, which own jobs; like those about keys they speak to the database."""

from typing import Annotated, Any

import typer

from icm.commands.keys import DatabaseUrl, DataDir, with_store
from icm.commands.options import Json
from icm.commands.output import on_stdout, plain_table, write_json, write_line
from service.access.issuing import limit_project, list_projects
from service.access.quotas import QUOTA_NAMES
from service.records.access import Project


def list_(*, database_url: DatabaseUrl = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """List projects with the quotas of their own; with --json one line for each."""
    table = plain_table("name", "created", "quotas")
    for project in with_store(list_projects, database_url, data_dir):
        if as_json:
            write_json(_document(project))
        table.add_row(project.name, f"{project.created_at:%Y-%m-%d}", _told(project))
    if not as_json:
        on_stdout().print(table)


def limit(
    name: Annotated[str, typer.Argument(help="The project.")],
    quotas: Annotated[
        list[str],
        typer.Argument(help=f"QUOTA=NUMBER, 0 for no limit, or QUOTA=default; of {', '.join(QUOTA_NAMES)}."),
    ],
    *,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Give a project quotas of its own."""
    changes = dict(map(_parsed, quotas))
    project = with_store(lambda store: limit_project(store, name, changes), database_url, data_dir)
    if as_json:
        write_json(_document(project))
        return
    write_line(on_stdout(), f"{project.name}: {_told(project) or 'the quotas of all'}")


def build_group() -> typer.Typer:
    """`icm projects` with its commands."""
    group = typer.Typer(help="Projects: list, limit.", no_args_is_help=True, add_completion=False)
    group.command("list")(list_)
    group.command()(limit)
    return group


def _parsed(text: str) -> tuple[str, int | None]:
    name, _, number = text.partition("=")
    if number == "default":
        return name, None
    if not (number.isascii() and number.isdecimal()):
        raise typer.BadParameter(f"{text}: QUOTA=NUMBER or QUOTA=default is needed")
    return name, int(number)


def _told(project: Project) -> str:
    return " ".join(f"{name}={limit}" for name, limit in sorted(project.quotas.items()))


def _document(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "created_at": project.created_at.isoformat(),
        "quotas": dict(project.quotas),
    }
