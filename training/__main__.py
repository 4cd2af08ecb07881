"""The entry point of `python -m training`, which trains language models on labels: cuts off the network, then runs.

`--help` describes the command.
"""

import os
import sys

# The libraries read these as they load: no network, no telemetry; waiting threads sleep (inference/__main__.py).
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from training.progress import Progress, claim_standard_output
from training.supervision import StopRequest

if __name__ == "__main__":
    stop = StopRequest()
    stop.listen()  # before the libraries load, which takes seconds
    first = os.environ.get("RANK", "0") == "0"
    progress = Progress(claim_standard_output() if first else sys.stderr)

    from training.command import main  # after the signal handlers

    raise SystemExit(main(progress, stop))
