"""Names for the things that are passed around by number or by text."""

import uuid
from typing import NewType

JobId = NewType("JobId", str)
DatasetId = NewType("DatasetId", str)
WorkerId = NewType("WorkerId", str)
BackendId = NewType("BackendId", int)  # of a stored identity of a scoring backend
Row = NewType("Row", int)  # a row's position in its data set, from 0
Label = NewType("Label", int)  # a label's position in the task's label list, from 0


def new_job_id() -> JobId:
    """A fresh job id: "job_" and 32 hexadecimal digits."""
    return JobId(f"job_{uuid.uuid4().hex}")


def new_dataset_id() -> DatasetId:
    """A fresh data set id: "ds_" and 32 hexadecimal digits."""
    return DatasetId(f"ds_{uuid.uuid4().hex}")
