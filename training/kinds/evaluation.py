"""Scores labels with a language model, as the service does without demonstrations, and measures how well they fit."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.collation import evaluating, last_log_probabilities
from training.data.tokenization import Ids, TokenisedPrompt

Scores = npt.NDArray[np.float64]  # log p(label | prompt) in nats, of shape (rows, labels)
ROWS_AT_ONCE = 32
_TOLERANCE = 1e-6  # of the mean predicted probability of any label
_MAX_STEPS = 100_000


def label_scores(
    module: Any, prompts: Sequence[TokenisedPrompt], check: Callable[[], None], rows_at_once: int
) -> Scores:
    """Score every label behind every prompt, by the sum of its spellings' probabilities.

    Calls `check` before each batch, which may raise.
    """
    scores = np.full((len(prompts), len(prompts[0].labels) if prompts else 0), -np.inf)
    sequences = sorted(_sequences(prompts), key=lambda reading: len(reading.sequence))
    with evaluating(module):
        for start in range(0, len(sequences), rows_at_once):
            check()
            for reading, log_probability_of in _read(module, sequences[start : start + rows_at_once]):
                for label, path in reading.paths:
                    scores[reading.row, label] = np.logaddexp(scores[reading.row, label], log_probability_of(path))
    return scores


class _Reading:
    """A sequence to score: a prompt and the beginning of a label; it serves all labels whose beginnings it contains."""

    def __init__(self, row: int, prompt: Ids, beginning: Ids) -> None:
        self.row = row
        self.sequence = prompt + beginning
        self.kept = len(beginning) + 1
        self.paths: list[tuple[int, Ids]] = []


def _sequences(prompts: Sequence[TokenisedPrompt]) -> Iterator[_Reading]:
    """The fewest sequences that contain every label without its last token."""
    for row, prompt in enumerate(prompts):
        readings: list[tuple[Ids, _Reading]] = []
        for label, path in sorted(prompt.paths, key=lambda each: -len(each[1])):
            beginning = path[:-1]
            holding = (reading for longer, reading in readings if longer[: len(beginning)] == beginning)
            if (reading := next(holding, None)) is None:
                reading = _Reading(row, prompt.ids, beginning)
                readings.append((beginning, reading))
                yield reading
            reading.paths.append((label, path))


def _read(module: Any, readings: Sequence[_Reading]) -> list[tuple[_Reading, Callable[[Ids], float]]]:
    """Run the sequences as a batch; returns each with a function that gives a label's log-probability, in nats."""
    kept = max(reading.kept for reading in readings)
    logs = last_log_probabilities(module, [reading.sequence for reading in readings], kept).numpy()

    def of(row: int) -> Callable[[Ids], float]:
        first = kept - readings[row].kept  # position of the prompt's last token
        return lambda label: float(sum(logs[row, first + depth, token] for depth, token in enumerate(label)))

    return [(reading, of(row)) for row, reading in enumerate(readings)]


def calibrated(scores: Scores) -> Scores:
    """Batch calibration (arXiv 2309.17249): shift the scores, label by label, until the mean prediction is even."""
    shifts = np.zeros(scores.shape[1])
    for _ in range(_MAX_STEPS):
        mean = np.exp(_normalized(scores + shifts)).mean(axis=0)
        if np.abs(mean - 1 / len(shifts)).max() < _TOLERANCE:
            break
        shifts -= np.log(mean * len(shifts))
    return _normalized(scores + shifts)


def quality(scores: Scores, labels: Sequence[int], gold: Sequence[int | None]) -> dict[str, float | int | None]:
    """The share of rows whose likeliest label is the given one, and the mean -log p(label among the labels) in nats.

    Adds `accuracy` against gold if every row has gold. Without rows the numbers are None.
    """
    if not len(scores):
        return {"rows": 0, "agreement": None, "nats": None, "accuracy": None}
    likeliest, rows = scores.argmax(axis=1), np.arange(len(scores))
    gold_labels = [label for label in gold if label is not None]
    return {
        "rows": len(scores),
        "agreement": float((likeliest == np.array(labels)).mean()),
        "nats": float(-_normalized(scores)[rows, np.array(labels)].mean()),
        "accuracy": float((likeliest == np.array(gold_labels)).mean()) if len(gold_labels) == len(scores) else None,
    }


def _normalized(values: Scores) -> Scores:
    """Log-probabilities over the label set, row by row."""
    normalized: Scores = values - np.logaddexp.reduce(values, axis=1, keepdims=True)
    return normalized
