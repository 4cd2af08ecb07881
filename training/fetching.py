"""`python -m training.fetching NAME`: download a model from the Hugging Face hub, weights as safetensors only.

This is the only part of training that uses the network; it runs if the user gives `--download`.
"""

import sys

from huggingface_hub import snapshot_download

from inference.finding import ModelMissing, find

WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def fetch(name: str) -> str | None:
    """Download the model; return what to tell people if nobody can, long before the hub's client gives up."""
    try:
        find(name, lambda line: _tell(f"{line}\n"))
    except ModelMissing as error:
        return f"the base {name!r} cannot be downloaded: {error}"
    snapshot_download(name, allow_patterns=list(WANTED))
    return None


def _tell(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(fetch(sys.argv[1]))
