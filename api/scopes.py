"""Which scope of an API key a request needs, and which paths need no key."""

from api.docs_page import PUBLIC_PATHS
from service.records.access import Scope as KeyScope

OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
_ADMIN_PATHS = frozenset({"/metrics"})
_READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def scope_needed(method: str, path: str) -> KeyScope | None:
    """Which scope a request needs; none where it needs no key at all."""
    if path in OPEN_PATHS or path in PUBLIC_PATHS:
        return None
    if path in _ADMIN_PATHS:
        return KeyScope.ADMIN
    return KeyScope.READ if method in _READING_METHODS else KeyScope.WRITE
