"""Logs, metrics and traces of a process, for its operators."""

from service.observability.logs import configure_logging

__all__ = ["configure_logging"]
