"""What the report ranks the labellings by that a search has measured: information gain, all in one measure."""

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

    Each was measured behind demonstrations of its own labels, by views of at most so many of them
    (`view_sizes`, the found labelling's last); no prompt is asked for the report.
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
