"""The periodic task that deletes data past its retention period; one worker process at a time runs it."""

from datetime import timedelta

import structlog

from service.jobs.retention import Retention, delete_expired
from service.ports.store import Store
from service.settings import RetentionSettings

logger = structlog.get_logger(__name__)


class Maintenance:
    """Deletes expired data and logs how many rows it deleted."""

    name = "maintenance"

    def __init__(self, store: Store, settings: RetentionSettings) -> None:
        self._store = store
        self._retention = retention(settings)
        self._every_seconds = settings.every_seconds

    async def run_once(self) -> float:
        """Delete expired data; returns the seconds until the next run, 0 if more is left. Raises StorageUnavailable."""
        deletions = await delete_expired(self._store, self._retention)
        if deletions.removed:
            logger.info("deleted data past its retention period", **deletions.removed)
        return 0.0 if deletions.has_more else self._every_seconds


def retention(settings: RetentionSettings) -> Retention:
    """The operator's settings as retention periods; 0 days keep the data for ever."""
    return Retention(
        idempotency_keys=timedelta(hours=settings.idempotency_keys_hours),
        events=_days(settings.events_days),
        jobs=_days(settings.jobs_days),
        usage=_days(settings.usage_days),
        deliveries=_days(settings.deliveries_days),
        audit=_days(settings.audit_days),
    )


def _days(number: float) -> timedelta | None:
    return timedelta(days=number) if number else None
