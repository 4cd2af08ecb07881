"""`python -m inference`: see `--help`."""

import os

# Waiting threads of torch must sleep, not spin: beside other busy processes spinning
# makes a forward pass ten times slower. OpenMP reads this once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from inference.server import main

if __name__ == "__main__":
    main()
