"""The in-memory twin of the whole store, for tests, dry runs and trying things out."""

from service.storage.memory.store import MemoryStore

__all__ = ["MemoryStore"]
