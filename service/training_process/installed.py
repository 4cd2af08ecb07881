"""Says whether this installation can train."""

from importlib.util import find_spec

_NEEDED = ("training", "torch", "peft", "trl")  # what the extra `training` brings


def can_train() -> bool:
    """Whether the command has what it needs; nothing of it is loaded."""
    return all(find_spec(name) is not None for name in _NEEDED)
