"""Names for the things that are passed around by number or by text."""

import re
import uuid
from typing import NewType

JobId = NewType("JobId", str)
DatasetId = NewType("DatasetId", str)
WorkerId = NewType("WorkerId", str)
ProjectName = NewType("ProjectName", str)
KeyId = NewType("KeyId", str)  # the part of an API key that is no secret
WebhookId = NewType("WebhookId", str)  # of an endpoint
DeliveryId = NewType("DeliveryId", str)  # the `webhook-id` of a message, the same however often it is sent
BackendId = NewType("BackendId", int)  # of a stored identity of a scoring backend
Row = NewType("Row", int)  # a row's position in its data set, from 0
Label = NewType("Label", int)  # a label's position in the task's label list, from 0

_TRAINING_ID = re.compile(r"train_[0-9a-f]{32}")

DEFAULT_PROJECT = ProjectName("default")  # of callers who need no key, and of all jobs from before there were keys


def new_job_id() -> JobId:
    """A fresh job id: "job_" and 32 hexadecimal digits."""
    return JobId(f"job_{uuid.uuid4().hex}")


def new_training_id() -> JobId:
    """A fresh id of a job that trains: "train_" and 32 hexadecimal digits."""
    return JobId(f"train_{uuid.uuid4().hex}")


def is_training_id(text: str) -> bool:
    """Whether a training may have this id."""
    return _TRAINING_ID.fullmatch(text) is not None


def new_webhook_id() -> WebhookId:
    """A fresh id of a webhook endpoint: "wh_" and 32 hexadecimal digits."""
    return WebhookId(f"wh_{uuid.uuid4().hex}")


def new_delivery_id() -> DeliveryId:
    """A fresh id of a delivery: "msg_" and 32 hexadecimal digits."""
    return DeliveryId(f"msg_{uuid.uuid4().hex}")


def new_dataset_id() -> DatasetId:
    """A fresh data set id: "ds_" and 32 hexadecimal digits."""
    return DatasetId(f"ds_{uuid.uuid4().hex}")
