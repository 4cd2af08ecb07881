"""Settings that are constants now: a process that finds one set reports that on standard error and starts."""

import sys
from collections.abc import Iterable

GONE = {  # with the constant value
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


def report_gone(variables: Iterable[str]) -> None:
    """Report on standard error which of these variables have no effect any more."""
    for name in sorted(GONE.keys() & {variable.upper() for variable in variables}):
        sys.stderr.write(f"{name} has no effect any more: it is {GONE[name]} now; take the variable out\n")
