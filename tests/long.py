"""Whether tests run in their long form: `make test-long`, before a release (CONTRIBUTING.md).

`make test` repeats and draws as often as it needs to notice a defect; the long form does so many times more, and has
the tests that are marked `long`: other seeds and second variants of what a short test says.
"""

import os

LONG = os.environ.get("ICM_TESTS", "") == "long"
