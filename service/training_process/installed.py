"""Checks whether this installation can train."""

from importlib.util import find_spec

NEEDED = ("training", "torch", "transformers", "peft", "trl", "accelerate", "datasets")  # the extra `training`


def missing_modules() -> tuple[str, ...]:
    """The modules of the extra `training` that are not installed; it imports none of them."""
    return tuple(name for name in NEEDED if find_spec(name) is None)


def can_train() -> bool:
    """Whether all modules that the training command needs are installed."""
    return not missing_modules()
