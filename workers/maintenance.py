"""The duty of removing what is older than the operator keeps it; whichever worker process comes first does it."""

from collections import Counter
from datetime import timedelta

import structlog

from service.jobs.retention import Retention, tidy
from service.ports.store import Store
from service.settings import RetentionSettings

logger = structlog.get_logger(__name__)


class Maintenance:
    """Tidies up every now and then, and counts what was removed."""

    name = "maintenance"

    def __init__(self, store: Store, settings: RetentionSettings) -> None:
        self._store = store
        self._retention = retention(settings)
        self._every_seconds = settings.every_seconds
        self.removed = Counter[str]()  # by this process, since it began

    async def turn(self) -> float:
        """Tidy up; the seconds until the next turn, none where there is more to do. Raises StorageUnavailable."""
        tidied = await tidy(self._store, self._retention)
        self.removed.update(tidied.removed)
        if tidied.removed:
            logger.info("removed what was kept for long enough", **tidied.removed)
        return 0.0 if tidied.has_more else self._every_seconds


def retention(settings: RetentionSettings) -> Retention:
    """The operator's settings as spans of time; 0 days are for good."""
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
