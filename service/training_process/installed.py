"""Says whether this installation can train."""

from importlib.util import find_spec

NEEDED = ("training", "torch", "transformers", "peft", "trl", "accelerate", "datasets")  # the extra `training`


def missing_modules() -> tuple[str, ...]:
    """The modules of the extra `training` that are not installed here; none of the others is loaded."""
    return tuple(name for name in NEEDED if find_spec(name) is None)


def can_train() -> bool:
    """Whether the training command has everything that it needs."""
    return not missing_modules()
