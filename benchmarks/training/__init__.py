"""Benchmarks of `python -m training` (docs/training.md); an interrupted program resumes after its last result."""

import os

# Read once, when the libraries are loaded: no network (training/__main__.py).
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRANSFORMERS_OFFLINE="1")
