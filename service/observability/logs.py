"""Configures the logs: each line has a sentence for people and fields for machines.

Every line has `timestamp`, `level`, `logger` and `event`. The API binds `request_id`, `project` and `key_id`.
Workers bind `worker`, `job`, `shard` and `epoch`, and add the `request_id` of the request that created the job.
So one id leads from a request to the last shard of its job (docs/operations.md).
"""

import logging
import sys
from types import TracebackType
from typing import Literal

import structlog

from service.access.keys import redacted
from service.spans import current_trace_id
from service.terminal import visible


def configure_logging(log_format: Literal["console", "json"], level: str) -> None:
    """Send structlog and the standard library's logging to stderr in the same format; call once per process."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _with_trace_id,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    shown = [] if log_format == "json" else [_visible]  # JSON already escapes control characters
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown, renderer, _without_secrets],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_the_end
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)


def _with_trace_id(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the id of the current trace, if there is one."""
    trace_id = current_trace_id()
    if trace_id is not None:
        line["trace_id"] = trace_id
    return line


def _visible(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Make control characters visible, since paths and answers of servers may contain some."""
    return {name: visible(value) if isinstance(value, str) else value for name, value in line.items()}


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log an uncaught exception in the usual format and without secrets, in place of Python's own output."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("service").critical("the process ends: nobody foresaw this", exc_info=(kind, error, trace))


def _without_secrets(_logger: object, _method: str, line: structlog.typing.EventDict) -> str:
    """Remove secrets of API keys and webhooks from the finished line."""
    return redacted(str(line))
