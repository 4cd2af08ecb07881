"""Other labels for the same rows, for trainings to compare with."""

from collections.abc import Sequence
from random import Random

from training.spec import Control


def control_labels(
    control: Control, found: Sequence[int], gold: Sequence[int], label_count: int, seed: int
) -> list[int]:
    """Return the labels of a control; `gold` is empty unless the control needs it."""
    rng = Random(f"{seed} {control}")
    match control:
        case Control.SHUFFLED:
            return _shuffled(found, rng)
        case Control.INVERTED:
            return [(label + 1) % label_count for label in found]
        case Control.GOLD:
            return list(gold)
        case Control.NOISE:
            return _equally_wrong(found, gold, label_count, rng)


def _shuffled(labels: Sequence[int], rng: Random) -> list[int]:
    """The same labels dealt out at random."""
    dealt = list(labels)
    rng.shuffle(dealt)
    return dealt


def _equally_wrong(found: Sequence[int], gold: Sequence[int], label_count: int, rng: Random) -> list[int]:
    """Gold labels with as many errors as the found labels, at random rows."""
    noisy = list(gold)
    wrong = sum(one != other for one, other in zip(found, gold, strict=True))
    for row in rng.sample(range(len(noisy)), wrong):
        noisy[row] = (noisy[row] + rng.randrange(1, label_count)) % label_count
    return noisy
