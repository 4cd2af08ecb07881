"""The rule that gives each request its scope, and the paths that need no key."""

from api.docs_page import PUBLIC_PATHS
from service.records.access import Scope as KeyScope

OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
_ADMIN_PATHS = frozenset({"/metrics"})
_READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def scope_needed(method: str, path: str) -> KeyScope | None:
    """Return the scope that a request needs, or None if it needs no key."""
    if path in OPEN_PATHS or path in PUBLIC_PATHS:
        return None
    if path in _ADMIN_PATHS:
        return KeyScope.ADMIN
    return KeyScope.READ if method in _READING_METHODS else KeyScope.WRITE
