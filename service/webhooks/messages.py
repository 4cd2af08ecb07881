"""The message that only shows that messages arrive; those that tell of a job are in `service.lifecycle.messages`."""

from datetime import datetime

from service.lifecycle.messages import message_body
from service.records.webhooks import TEST_EVENT


def trial_message(at: datetime) -> bytes:
    """The body of a message that only shows that messages arrive."""
    return message_body(TEST_EVENT, at, {"message": "This is a test of this webhook; nothing has happened."})
