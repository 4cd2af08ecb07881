"""Composes the test message of a webhook; `service.lifecycle.messages` composes the messages about jobs."""

from datetime import datetime

from service.lifecycle.messages import message_body
from service.records.webhooks import TEST_EVENT


def trial_message(at: datetime) -> bytes:
    """The body of the test message."""
    return message_body(TEST_EVENT, at, {"message": "This is a test of this webhook; nothing has happened."})
