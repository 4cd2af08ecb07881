"""`python -m training.fetching NAME`: download a model from the Hugging Face hub, weights as safetensors only.

This is the only part of training that uses the network; it runs if the user gives `--download`.
"""

import sys

from huggingface_hub import snapshot_download

WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")

if __name__ == "__main__":
    snapshot_download(sys.argv[1], allow_patterns=list(WANTED))
