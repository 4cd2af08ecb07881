"""`python -m inference`: see `--help`."""

import os
import sys

# Waiting threads of torch must sleep, not spin: beside other busy processes spinning
# makes a forward pass ten times slower. OpenMP reads this once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from inference.finding import end_without_model

if __name__ == "__main__":
    end_without_model(sys.argv[1:])

    from inference.server import main  # which loads for seconds

    main()
