"""The calls about webhooks, as values."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from icm.calls import Call, Document, Page, data_of, document_of, listing, nothing

_WEBHOOKS = "/v1/webhooks"


def create(url: str, events: Sequence[str], description: str) -> Call[Document]:
    """Made twice it would make two."""
    body = {"url": url, "description": description} | ({"events": list(events)} if events else {})
    return Call(method="POST", path=_WEBHOOKS, read=document_of, body=body, repeatable=False)


def listed() -> Call[list[Document]]:
    """All of the project's, the oldest first."""
    return Call(method="GET", path=_WEBHOOKS, read=data_of)


def get(webhook_id: str) -> Call[Document]:
    """One of them."""
    return Call(method="GET", path=_path(webhook_id), read=document_of)


def update(webhook_id: str, changes: Mapping[str, Any]) -> Call[Document]:
    """What is not named stays."""
    return Call(method="PATCH", path=_path(webhook_id), read=document_of, body=changes)


def delete(webhook_id: str) -> Call[None]:
    """Removes it with its log."""
    return Call(method="DELETE", path=_path(webhook_id), read=nothing)


def rotate(webhook_id: str) -> Call[Document]:
    """Made twice it would make two secrets, and the first one signs no more."""
    return Call(method="POST", path=f"{_path(webhook_id)}/rotate", read=document_of, repeatable=False)


def send_test(webhook_id: str) -> Call[Document]:
    """Made twice it would send two messages."""
    return Call(method="POST", path=f"{_path(webhook_id)}/test", read=document_of, repeatable=False)


def deliveries(webhook_id: str, *, page_size: int) -> Call[Page[Document]]:
    """Newest first."""
    return listing(f"{_path(webhook_id)}/deliveries", {"limit": str(page_size)}, dict)


def resend(webhook_id: str, delivery_id: str) -> Call[Document]:
    """Repeated, still the same message."""
    path = f"{_path(webhook_id)}/deliveries/{quote(delivery_id, safe='')}/resend"
    return Call(method="POST", path=path, read=document_of)


def _path(webhook_id: str) -> str:
    return f"{_WEBHOOKS}/{quote(webhook_id, safe='')}"
