"""Faults of fake servers, by a plan that prints itself and can be read back.

A plan names faults for certain calls by their number, or for a share of all calls drawn by a seed.
The draw looks at the call's body and at how often that body has come, not at the order in which
calls arrive, so that it is the same however calls overlap.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Self


class Fault(StrEnum):
    """A fault of one call."""

    OVERLOADED = "overloaded"  # 429, or 503 if the server has no other status for it
    OVERLOADED_SECONDS = "overloaded, Retry-After in seconds"
    OVERLOADED_DATE = "overloaded, Retry-After as a date"
    FAILED = "failed"  # 500
    BAD_GATEWAY = "bad gateway"  # 502 with a page of HTML, as a proxy sends it
    UNAVAILABLE = "unavailable"  # 503
    UNAVAILABLE_SECONDS = "unavailable, Retry-After in seconds"
    UNAVAILABLE_DATE = "unavailable, Retry-After as a date"
    RESET_BEFORE = "connection reset before the answer"
    RESET_WITHIN = "connection reset in the middle of the answer"
    SILENT = "no answer until the client leaves"
    MALFORMED = "not JSON"
    CUT_JSON = "JSON that ends too early"
    EMPTY = "an empty answer"
    OTHER_FORM = "JSON of another form"
    MISSING_LABEL = "the token asked for last is missing"
    NULL_VALUES = "null in place of every log-probability"
    NAN_VALUES = "NaN in place of every log-probability"
    POSITIVE_VALUES = "log-probabilities above 0"
    TRUNCATED = "the prompt was cut"
    ABORTED = "200 with an abort inside"
    REFUSED = "refused"  # a 4xx that no other attempt will change
    UNAUTHORIZED = "unauthorized"  # 401
    RESTARTED = "the server is gone and comes back as its successor"


RETRY_AFTER_SECONDS = 7  # the value of Retry-After
WITH_RETRY_AFTER = frozenset(
    {Fault.OVERLOADED_SECONDS, Fault.OVERLOADED_DATE, Fault.UNAVAILABLE_SECONDS, Fault.UNAVAILABLE_DATE}
)
PASSING = (  # another attempt may succeed
    Fault.OVERLOADED,
    Fault.OVERLOADED_SECONDS,
    Fault.OVERLOADED_DATE,
    Fault.FAILED,
    Fault.BAD_GATEWAY,
    Fault.UNAVAILABLE,
    Fault.UNAVAILABLE_SECONDS,
    Fault.UNAVAILABLE_DATE,
    Fault.RESET_BEFORE,
    Fault.RESET_WITHIN,
    Fault.SILENT,
    Fault.MALFORMED,
    Fault.CUT_JSON,
    Fault.EMPTY,
    Fault.ABORTED,
)


@dataclass(frozen=True)
class Plan:
    """The plan of faults: which scoring calls fail, and how.

    `at` names calls by their number, from 1. Of all others, `share` goes wrong in one of the ways
    of `drawn`; a body that has failed `spared_after` times is answered from then on.
    """

    at: Mapping[int, Fault] = field(default_factory=dict)
    seed: int = 0
    share: float = 0.0
    drawn: tuple[Fault, ...] = ()
    spared_after: int = 2

    @classmethod
    def always(cls, fault: Fault) -> Self:
        """Every call fails in this way."""
        return cls(share=1.0, drawn=(fault,), spared_after=1_000_000)

    @classmethod
    def once(cls, fault: Fault) -> Self:
        """The first attempt with any body fails in this way."""
        return cls(share=1.0, drawn=(fault,), spared_after=1)

    def fault(self, number: int, body: bytes, attempt: int) -> Fault | None:
        """The fault of the call with this number, whose body comes for the `attempt`-th time (from 1)."""
        if number in self.at:
            return self.at[number]
        if not self.drawn or attempt > self.spared_after:
            return None
        rng = Random(f"{self.seed}/{attempt}/".encode() + body)
        return rng.choice(self.drawn) if rng.random() < self.share else None

    def __str__(self) -> str:
        return json.dumps(
            {
                "at": {str(number): fault.value for number, fault in sorted(self.at.items())},
                "seed": self.seed,
                "share": self.share,
                "drawn": [fault.value for fault in self.drawn],
                "spared_after": self.spared_after,
            }
        )

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse a printed plan."""
        written = json.loads(text)
        return cls(
            at={int(number): Fault(fault) for number, fault in written["at"].items()},
            seed=written["seed"],
            share=written["share"],
            drawn=tuple(map(Fault, written["drawn"])),
            spared_after=written["spared_after"],
        )
