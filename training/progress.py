"""Report events as lines of JSON on standard output, which carries nothing else."""

import json
import os
import sys
from typing import Any, TextIO

from training.errors import Stopped


class Progress:
    """Write events to a stream, one line each."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def tell(self, event: str, **facts: Any) -> None:
        """Write one event. Raises Stopped if the reader has closed the stream, since the supervisor has ended."""
        try:
            self._stream.write(json.dumps({"event": event, **facts}, ensure_ascii=False) + "\n")
            self._stream.flush()
        except BrokenPipeError as error:
            raise Stopped("nobody reads the progress any more; started again, the training resumes") from error


def claim_standard_output() -> TextIO:
    """Reserve standard output for progress, and redirect the libraries' output to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(kept, "w", encoding="utf-8")
