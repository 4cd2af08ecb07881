"""An in-memory store for tests of use cases and workers, which open many units of work.

It has one project and no webhooks, API keys or retention; `service.lifecycle` decides how jobs change. Tests of the
store itself use Postgres.
"""

from tests.support.memory.store import MemoryStore

__all__ = ["MemoryStore"]
