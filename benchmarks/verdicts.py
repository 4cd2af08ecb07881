"""Prints which verdicts planted data sets get against those they should get.

    python -m benchmarks.verdicts > docs/verdict_confusion.md

The real search labels each of them in this process, with a language model in miniature that
goes wrong in one certain way, or in none; takes less than a minute. Beside them stand the runs on
real language models that docs/real_models/results.jsonl has: there nobody planted what went wrong.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.real import verdicts as real
from benchmarks.real.ledger import Ledger
from service.jobs.reporting.verdicts import Verdict
from tests.planted.failing import failing
from tests.planted.healthy import healthy
from tests.planted.labelling import Case, reported

RESULTS = Path(__file__).parent.parent / "docs/real_models/results.jsonl"
_HEAD = """# Verdicts on planted data

This page compares the [verdicts](verdicts.md) that planted data sets should get with those that they get.
`python -m benchmarks.verdicts` prints it.

"""
_REAL = """
## On real language models
These are the runs of docs/real_models.md. Labels are *right* if their accuracy is at most {near} below that of
calibrated gold many-shot prompting of the same rows. A right labelling may still be useless, if gold prompting knows
nothing either.

{table}"""


@dataclass(frozen=True)
class Outcome:
    """A planted case with the verdict and the reasons of its report."""

    case: Case
    verdict: Verdict
    codes: Sequence[str]

    @property
    def is_right(self) -> bool:
        """Whether it got its verdict for the reason it was planted for."""
        return self.verdict is self.case.verdict and (self.case.code is None or self.case.code in self.codes)


async def outcome(case: Case) -> Outcome:
    """Label one case and report on it."""
    found = await reported(case)
    return Outcome(case, found.verdict, [reason.code for reason in found.reasons])


def confusion(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Expected against given verdicts, in Markdown."""
    counts = Counter((found.case.verdict, found.verdict) for found in outcomes)
    yield f"| expected \\ given | {' | '.join(f'`{verdict}`' for verdict in Verdict)} |"
    yield "|---" * (len(Verdict) + 1) + "|"
    for expected in Verdict:
        cells = " | ".join(str(counts[expected, given]) for given in Verdict)
        yield f"| `{expected}` | {cells} |"


def by_mode(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """How many cases of each kind got verdict and reason right, in Markdown."""
    yield "| planted | cases | verdict and reason right | not |"
    yield "|---|---|---|---|"
    for mode in dict.fromkeys(found.case.code for found in outcomes):
        cases = [found for found in outcomes if found.case.code == mode]
        wrong = "; ".join(f"{found.case}: {found.verdict}" for found in cases if not found.is_right)
        yield f"| {mode or 'healthy'} | {len(cases)} | {sum(found.is_right for found in cases)} | {wrong} |"


def on_real_models(results: Path) -> str:
    """The section about runs on real language models, from their stored results."""
    found = real.judged(Ledger(results).read())
    return _REAL.format(near=real.NEAR_GOLD, table=real.confusion(found))


def main() -> None:
    """Print both tables; the exit status says whether every case was judged rightly."""
    outcomes = [asyncio.run(outcome(case)) for case in (*failing(), *healthy())]
    sys.stdout.write(_HEAD)
    sys.stdout.write("\n".join([*confusion(outcomes), "", *by_mode(outcomes), ""]))
    sys.stdout.write(on_real_models(RESULTS))
    sys.exit(not all(found.is_right for found in outcomes))


if __name__ == "__main__":
    main()
