"""Commands about webhooks, which notify an address when a job ends, and about their messages."""

from itertools import islice
from typing import Annotated, Any

import typer

from icm.calls.call import Document
from icm.client import Client
from icm.commands.options import ApiKey, Json, Url
from icm.commands.output import on_stderr, on_stdout, plain_table, write_json, write_line
from icm.requests import DEFAULT_URL

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="Id of the webhook.")]
Events = Annotated[list[str] | None, typer.Option("--event", help="Event such as job.failed; repeat for several.")]
Enabled = Annotated[bool | None, typer.Option("--enable/--disable", help="Send messages or not.")]
_FIELDS = ("id", "url", "events", "description", "enabled", "disabled_reason", "failing_since", "former_secret_until")


def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Address of the receiver: https://...")],
    *,
    event: Events = None,
    description: Annotated[str, typer.Option(help="Purpose of the webhook, for lists.")] = "",
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Create a webhook, which notifies an address when jobs end or pause; print its secret, once."""
    with Client(url, api_key=api_key) as client:
        webhook = client.webhooks.create(address, events=event or (), description=description)
    _show_secret(webhook, as_json=as_json)


def list_(*, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """List the project's webhooks; --json prints one line for each."""
    with Client(url, api_key=api_key) as client:
        found = client.webhooks.list()
    table = plain_table("id", "address", "events", "state")
    for webhook in found:
        if as_json:
            write_json(webhook)
        table.add_row(webhook["id"], webhook["url"], " ".join(webhook["events"]), _state(webhook))
    if not as_json:
        on_stdout().print(table)


def show(webhook_id: WebhookId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a webhook."""
    with Client(url, api_key=api_key) as client:
        _show(client.webhooks.get(webhook_id), as_json=as_json)


def update(
    webhook_id: WebhookId,
    *,
    address: Annotated[str | None, typer.Option(help="New address of the receiver.")] = None,
    event: Events = None,
    description: Annotated[str | None, typer.Option(help="Purpose of the webhook, for lists.")] = None,
    enabled: Enabled = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Change the given properties of a webhook."""
    given = {"url": address, "events": event, "description": description, "enabled": enabled}
    changes = {name: value for name, value in given.items() if value is not None}
    with Client(url, api_key=api_key) as client:
        _show(client.webhooks.update(webhook_id, **changes), as_json=as_json)


def delete(webhook_id: WebhookId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Delete a webhook with its log."""
    with Client(url, api_key=api_key) as client:
        client.webhooks.delete(webhook_id)
    if as_json:
        write_json({"id": webhook_id, "deleted": True})


def rotate(webhook_id: WebhookId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Create a new secret and print it, once; for 24 hours the old one signs as well."""
    with Client(url, api_key=api_key) as client:
        _show_secret(client.webhooks.rotate(webhook_id), as_json=as_json)


def send_test(webhook_id: WebhookId, *, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Send a test message; `icm webhooks deliveries` shows whether it arrived."""
    with Client(url, api_key=api_key) as client:
        _show_delivery(client.webhooks.test(webhook_id), as_json=as_json)


def deliveries(
    webhook_id: WebhookId,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of messages.")] = 20,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List the messages to a webhook, newest first; --json prints one line for each."""
    table = plain_table("id", "event", "status", "tries", "answer", "created", "next try", "error")
    with Client(url, api_key=api_key) as client:
        for sent in islice(client.webhooks.deliveries(webhook_id), limit):
            if as_json:
                write_json(sent)
            table.add_row(*(str("" if cell is None else cell) for cell in _cells(sent)))
    if not as_json:
        on_stdout().print(table)


def resend(
    webhook_id: WebhookId,
    delivery_id: Annotated[
        str, typer.Argument(metavar="DELIVERY", help="Id of the delivery, as `icm webhooks deliveries` shows it.")
    ],
    *,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Send a message again under its old id."""
    with Client(url, api_key=api_key) as client:
        _show_delivery(client.webhooks.resend(webhook_id, delivery_id), as_json=as_json)


def build_group() -> typer.Typer:
    """Build `icm webhooks` with its commands."""
    group = typer.Typer(
        help="Manage webhooks, which notify an address when a job ends.", no_args_is_help=True, add_completion=False
    )
    group.command("list")(list_)
    group.command("test")(send_test)
    for command in (create, show, update, delete, rotate, deliveries, resend):
        group.command()(command)
    return group


def _show_secret(webhook: Document, *, as_json: bool) -> None:
    if as_json:
        write_json(webhook)
        return
    write_line(on_stdout(), webhook["secret"])
    write_line(on_stderr(), f"the secret of webhook {webhook['id']}; no command shows it again")


def _show(webhook: Document, *, as_json: bool) -> None:
    if as_json:
        write_json(webhook)
        return
    table = plain_table("", "")
    table.show_header = False
    for name in _FIELDS:
        value = webhook.get(name)
        table.add_row(name, " ".join(value) if isinstance(value, list) else str("" if value is None else value))
    on_stdout().print(table)


def _show_delivery(sent: Document, *, as_json: bool) -> None:
    if as_json:
        write_json(sent)
        return
    write_line(on_stdout(), f"{sent['id']} {sent['status']}")


def _state(webhook: Document) -> str:
    if not webhook["enabled"]:
        return f"disabled: {webhook['disabled_reason']}" if webhook.get("disabled_reason") else "disabled"
    return f"failing since {_minute(webhook['failing_since'])}" if webhook.get("failing_since") else "enabled"


def _cells(sent: Document) -> tuple[Any, ...]:
    times = (_minute(sent["created_at"]), _minute(sent["next_try_at"]))
    return (sent["id"], sent["type"], sent["status"], sent["tries"], sent["last_status"], *times, sent["last_error"])


def _minute(text: str | None) -> str:
    return "" if text is None else text[:16].replace("T", " ")
