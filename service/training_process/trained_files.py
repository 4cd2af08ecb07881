"""Writes the input files of a search's training, and reads the scores that the trained model gives to further rows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.errors import TrainingFailed
from service.identifiers import Row
from service.search.predictions.prompt_tree import TreeScores, Usage
from service.search.predictions.training import TrainAndScore
from service.training_process.child import EXAMPLES, write_whole
from service.values import further_spellings

_QUESTIONS, _SCORES, _REPORT = "questions.jsonl", "scores.jsonl", "report.json"

Rows = Sequence[Mapping[str, Any]]


def examples_of(request: TrainAndScore, labels: Sequence[str]) -> Rows:
    """The labelled rows to train on."""
    return [_row(example.text, labels[example.label], example.weight) for example in request.examples]


def questions_of(request: TrainAndScore) -> Rows:
    """The rows to score, with their positions as ids."""
    return [{"prompt": query.text, "id": str(query.row)} for query in request.queries]


def spec_of(
    request: TrainAndScore, labels: Sequence[str], separator: str, *, all_spellings: bool = False
) -> dict[str, Any]:
    """The specification without base, device and examples. It holds out no row, since the search measures by itself."""
    rate = {} if request.learning_rate is None else {"learning_rate": request.learning_rate}
    weighted = any(example.weight != 1 for example in request.examples)
    further = further_spellings(labels, all_spellings=all_spellings)
    return {
        "labels": list(labels),
        "separator": separator,
        "score": _QUESTIONS,
        "holdout": 0,
        "epochs": request.epochs,
        "seed": request.seed,
        "weights": "confidence" if weighted else "none",
        **rate,
        **({"spellings": further} if further else {}),
    }


def write_rows(folder: Path, examples: Rows, questions: Rows) -> None:
    """Write both files; a crash leaves no partial file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in ((EXAMPLES, examples), (_QUESTIONS, questions)):
        write_whole(folder / name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _row(text: str, label: str, weight: float) -> dict[str, Any]:
    return {"prompt": text, "label": label, **({} if weight == 1 else {"weight": weight})}


def read_scores(out: Path, request: TrainAndScore, classes: int) -> TreeScores:
    """The scores and the cost of a finished training. Raises TrainingFailed if a row has no scores."""
    lines = (out / _SCORES).read_text("utf-8").splitlines()
    scores_by_id = {row["id"]: tuple(map(float, row["log_probabilities"])) for row in map(json.loads, lines)}
    found = {query.row: scores_by_id[str(query.row)] for query in request.queries if str(query.row) in scores_by_id}
    if len(found) < len(request.queries) or any(len(values) != classes for values in found.values()):
        raise TrainingFailed("a training ended without the scores of all rows")
    report = json.loads((out / _REPORT).read_text("utf-8"))
    learned = request.epochs * report["rows"]["tokens"]
    read = learned + report["scored"]["tokens"]
    usage = Usage(len(found), read, read, trainings=1, tokens_trained=learned)
    return TreeScores({Row(row): values for row, values in found.items()}, usage)
