"""Lists the labellings that a search has measured with their information gains, so that the report can rank them."""

from collections.abc import Sequence

from service.search.measures.agreement import kappa, share_of_equal_labels
from service.search.measures.gain import gain_of
from service.search.state.facts import MeasuredLabelling
from service.search.state.problem import Problem
from service.search.state.steps import Candidate

FOUND = "found"
FIRST_IMPRESSION = "first_impression"
_STARTS = (FIRST_IMPRESSION, "start_impression", "start_random", "start_permuted")  # in the order of `State.starts`


def measured_labellings(
    problem: Problem, starts: Sequence[Candidate], found: Candidate, view_sizes: Sequence[Sequence[int]]
) -> list[MeasuredLabelling]:
    """The labelling found, then that of the first impression and the best of each start, on all rows of the shard.

    Each was measured during the search, by views that show at most `view_sizes` demonstrations with its own
    labels (the last of `view_sizes` belongs to the labelling found). The report sends no prompt of its own.
    """
    *of_starts, own = view_sizes
    named = [(FOUND, found, own), *zip(_STARTS, starts, of_starts, strict=False)]
    return [
        {
            "name": name,
            "gain_nats": gain_of(problem, candidate.labels, candidate.utility),
            "conflicts": len(problem.constraints.conflicts(candidate.labels)),
            "rows": len(candidate.labels),
            "demonstrations": list(sizes),
            "agreement": share_of_equal_labels(candidate.labels, found.labels),
            "kappa": kappa(candidate.labels, found.labels),
        }
        for name, candidate, sizes in named
    ]
