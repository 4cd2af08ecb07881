"""A store that forwards to another one, for tests that change one part of it."""

from service.ports.store import Store


class ForwardingStore:
    """Forwards everything except the worker unit, which the subclass provides."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.project_unit = store.project_unit
        self.access_unit = store.access_unit
        self.maintenance_unit = store.maintenance_unit
        self.wait_for_work = store.wait_for_work
        self.follow_events = store.follow_events
        self.load = store.load
        self.job_statistics = store.job_statistics
        self.ping = store.ping
        self.close = store.close
