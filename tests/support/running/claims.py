"""Small jobs about claims, exactly one of each pair of which is right, for worker processes."""

from typing import Any

PAPER = {"strategy": "paper", "draws_per_row": 4, "seed_labels": 4}  # one shard with many steps
FOLDS = {"strategy": "folds", "anchor_rows": 32, "shard_rows": 12, "initial_rows": 8, "restarts": 2}  # many shards


def rows(count: int, series: int = 0) -> list[dict[str, Any]]:
    """The claims; those of another series are others."""
    return [{"text": f"claim {i} of {series}", "question": i // 2} for i in range(count)]


def config(search: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a job with this search."""
    relation = {"kind": "exactly_one", "group": "question"}
    return {"task": {"template": "{text}", "relations": [relation]}, "search": search}
