"""Describes the HTTP calls of the webhooks API: each function returns a `Call`, which a client sends and reads."""

from collections.abc import Mapping, Sequence
from typing import Any

from icm.calls.call import Call, Document, Page, address_of, data_of, document_of, listing, nothing

_WEBHOOKS = "/v1/webhooks"


def create(url: str, events: Sequence[str], description: str) -> Call[Document]:
    """Create a webhook; a repeated call would create a second one."""
    body = {"url": url, "description": description} | ({"events": list(events)} if events else {})
    return Call(method="POST", path=_WEBHOOKS, read=document_of, body=body, repeatable=False)


def listed() -> Call[list[Document]]:
    """List the project's webhooks, oldest first."""
    return Call(method="GET", path=_WEBHOOKS, read=data_of)


def get(webhook_id: str) -> Call[Document]:
    """Read a webhook."""
    return Call(method="GET", path=_path(webhook_id), read=document_of)


def update(webhook_id: str, changes: Mapping[str, Any]) -> Call[Document]:
    """Change the given properties of a webhook."""
    return Call(method="PATCH", path=_path(webhook_id), read=document_of, body=changes)


def delete(webhook_id: str) -> Call[None]:
    """Delete a webhook with its log."""
    return Call(method="DELETE", path=_path(webhook_id), read=nothing)


def rotate(webhook_id: str) -> Call[Document]:
    """Create a new secret; a repeated call would create a second one, and the first would no longer sign."""
    return Call(method="POST", path=f"{_path(webhook_id)}/rotate", read=document_of, repeatable=False)


def send_test(webhook_id: str) -> Call[Document]:
    """Send a test message; a repeated call would send a second one."""
    return Call(method="POST", path=f"{_path(webhook_id)}/test", read=document_of, repeatable=False)


def deliveries(webhook_id: str, *, page_size: int) -> Call[Page[Document]]:
    """List a webhook's messages, newest first."""
    return listing(f"{_path(webhook_id)}/deliveries", {"limit": str(page_size)}, dict)


def resend(webhook_id: str, delivery_id: str) -> Call[Document]:
    """Send a message again; a repeated call sends the same message."""
    delivery = address_of(f"{_path(webhook_id)}/deliveries", delivery_id)
    return Call(method="POST", path=f"{delivery}/resend", read=document_of)


def _path(webhook_id: str) -> str:
    return address_of(_WEBHOOKS, webhook_id)
