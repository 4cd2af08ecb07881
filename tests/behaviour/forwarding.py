"""A store that does what another one does, for tests that change one thing about it."""

from service.ports.store import Store


class ForwardingStore:
    """All of a store but its workbench, which is the subclass's own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.desk = store.desk
        self.gate = store.gate
        self.upkeep = store.upkeep
        self.wait_for_work = store.wait_for_work
        self.follow_events = store.follow_events
        self.load = store.load
        self.census = store.census
        self.ping = store.ping
        self.close = store.close
