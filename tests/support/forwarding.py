"""A store that does what another one does, for tests that change one thing about it."""

from service.ports.store import Store


class ForwardingStore:
    """All of a store but its workbench, which is the subclass's own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.project_unit = store.project_unit
        self.access_unit = store.access_unit
        self.upkeep = store.upkeep
        self.wait_for_work = store.wait_for_work
        self.follow_events = store.follow_events
        self.load = store.load
        self.job_statistics = store.job_statistics
        self.ping = store.ping
        self.close = store.close
