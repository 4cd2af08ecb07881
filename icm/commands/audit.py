"""The command that shows the audit log. Like those about keys it uses the database."""

from typing import Annotated

import typer

from icm.commands.keys import DatabaseUrl, DataDir, with_store
from icm.commands.options import Json
from icm.commands.output import on_stdout, plain_table, write_json
from service.access.issuing import latest_entries
from service.records.access import AuditEntry


def audit(
    *,
    project: Annotated[str | None, typer.Option(help="Show only the entries of this project.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of entries.")] = 50,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show the audit log, newest first: who did what; --json prints one line for each."""
    table = plain_table("time", "action", "target", "project", "key", "request")
    entries = with_store(lambda store: latest_entries(store, limit=limit, project=project), database_url, data_dir)
    for entry in entries:
        if as_json:
            write_json(_document(entry))
        table.add_row(*(str(cell or "") for cell in _document(entry).values()))
    if not as_json:
        on_stdout().print(table)


def _document(entry: AuditEntry) -> dict[str, str | None]:
    return {
        "at": None if entry.at is None else entry.at.isoformat(timespec="seconds"),
        "action": entry.action,
        "target": entry.target,
        "project": entry.project,
        "key_id": entry.key_id,
        "request_id": entry.request_id,
    }
