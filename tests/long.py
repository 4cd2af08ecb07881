"""The switch between the short form of the tests (`make test`) and the long one (`make test-long`, CONTRIBUTING.md).

The short form repeats and draws as often as it needs to notice a defect. The long form does so many times more, and
runs the tests marked `long`, which repeat a short test with other seeds or in a second variant.
"""

import os

LONG = os.environ.get("ICM_TESTS", "") == "long"
FEWEST_EXAMPLES = 30


def examples(count: int) -> int:
    """The number of examples that Hypothesis draws: `count` in the long form, a third of it in the short one.

    Every run draws other ones.
    """
    return count if LONG else min(count, max(FEWEST_EXAMPLES, count // 3))
