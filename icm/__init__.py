"""Client library and command line of the labelling service."""

from icm.async_client import AsyncClient
from icm.client import Client
from icm.documents import Event, Job, Progress
from icm.errors import ApiError, Fault, IcmError, ServerUnreachable
from icm.retries import RetryPolicy

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Event",
    "Fault",
    "IcmError",
    "Job",
    "Progress",
    "RetryPolicy",
    "ServerUnreachable",
]
