"""What operators see of a process: its logs, its metrics, its traces."""

from service.observability.logs import configure_logging

__all__ = ["configure_logging"]
