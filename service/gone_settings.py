"""Settings that are constants now: an installation that still sets one starts all the same, and says so."""

import sys
from collections.abc import Iterable

GONE = {  # with the value that they have
    "ICM_DATABASE__STATEMENT_TIMEOUT_SECONDS": "60",
    "ICM_UPLOAD__MAX_RATIO": "200",
    "ICM_UPLOAD__MAX_REPORTED_FAULTS": "100",
    "ICM_SERVER__UPLOAD_WAIT_SECONDS": "120",
    "ICM_WEBHOOKS__CONCURRENCY": "16",
    "ICM_WEBHOOKS__POLL_SECONDS": "1",
}


def gone_of(group: str) -> frozenset[str]:
    """The names of a group's settings that are gone."""
    beginning = f"ICM_{group}__".upper()
    return frozenset(name.removeprefix(beginning).lower() for name in GONE if name.startswith(beginning))


def tell_gone(variables: Iterable[str]) -> None:
    """Say on standard error which of these variables have no effect any more."""
    for name in sorted(GONE.keys() & {variable.upper() for variable in variables}):
        sys.stderr.write(f"{name} has no effect any more: it is {GONE[name]} now; take the variable out\n")
