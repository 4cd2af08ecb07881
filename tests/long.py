"""Whether tests run in their long form: `make test-long`, before a release (CONTRIBUTING.md).

`make test` repeats and draws as often as it needs to notice a defect; the long form does so many times more, and has
the tests that are marked `long`: other seeds and second variants of what a short test says.
"""

import os

LONG = os.environ.get("ICM_TESTS", "") == "long"
FEWEST_EXAMPLES = 30


def examples(count: int) -> int:
    """How many examples Hypothesis draws where the long form has so many: a third in the short form, other ones in
    every run."""
    return count if LONG else min(count, max(FEWEST_EXAMPLES, count // 3))
