"""The worker process of chaos runs: the service's worker on a store that announces its leases."""

from unittest.mock import patch

from service.bootstrap import Application, build_application
from service.settings import Settings
from tests.chaos.announcing import AnnouncingStore
from workers import __main__ as door


def announcing(settings: Settings) -> Application:
    """The application on such a store."""
    url, queue = settings.database_url.get_secret_value(), settings.queue
    return build_application(settings, store=AnnouncingStore(url, max_crashes=queue.max_crashes))


def main() -> None:
    """Work until stopped."""
    with patch.object(door, "build_application", announcing):
        door.main()
