"""`python -m training.fetching NAME`: downloads a model from the Hugging Face hub, weights as safetensors only.

The one part of training that uses the network; it runs where the user gave `--download`.
"""

import sys

from huggingface_hub import snapshot_download

WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")

if __name__ == "__main__":
    snapshot_download(sys.argv[1], allow_patterns=list(WANTED))
