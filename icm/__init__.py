"""Client library and command line of the labelling service.

The first use of a name loads it, so that `icm --help` need not wait for modules that it does not use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from icm.async_client import AsyncClient
    from icm.client import Client
    from icm.documents import Event, Job, Progress
    from icm.errors import ApiError, Fault, IcmError, MissingLibrary, ServerUnreachable, UnsendableData
    from icm.retries import RetryPolicy
else:

    def __getattr__(name: str) -> Any:
        """Load a public name from its module."""
        module = _HOMES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(module), name)


__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Event",
    "Fault",
    "IcmError",
    "Job",
    "MissingLibrary",
    "Progress",
    "RetryPolicy",
    "ServerUnreachable",
    "UnsendableData",
]

_HOMES = {
    "AsyncClient": "icm.async_client",
    "Client": "icm.client",
    **dict.fromkeys(("Event", "Job", "Progress"), "icm.documents"),
    **dict.fromkeys(
        ("ApiError", "Fault", "IcmError", "MissingLibrary", "ServerUnreachable", "UnsendableData"), "icm.errors"
    ),
    "RetryPolicy": "icm.retries",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
