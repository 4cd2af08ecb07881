"""A store in this process's memory, for tests of use cases and workers that open many units of work.

It knows one project and no webhooks, API keys or retention; whatever becomes of jobs, `service.lifecycle` decides.
Promises of the store itself are tested on Postgres.
"""

from tests.support.memory.store import MemoryStore

__all__ = ["MemoryStore"]
