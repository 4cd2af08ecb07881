"""A search's state as plain JSON values, and back."""

from collections.abc import Mapping
from typing import Any

from service.identifiers import Label, Row
from service.search.consistency import Labels
from service.search.objective import Scores
from service.search.steps import Candidate, Phase, State, StopReason

VERSION = 1


def to_json(state: State) -> dict[str, Any]:
    """Plain values that `from_json` turns back into an equal state."""
    return {
        "version": VERSION,
        "phase": state.phase.value,
        "step": state.step,
        "round": state.round,
        "labels": _labels_to_json(state.labels),
        "scores": _scores_to_json(state.scores),
        "best": _candidate_to_json(state.best),
        "rival": _candidate_to_json(state.rival),
        "iterations": state.iterations,
        "accepted": state.accepted,
        "summary": dict(state.summary),
        "stop": None if state.stop is None else state.stop.value,
    }


def from_json(values: Mapping[str, Any]) -> State:
    """The state that was stored. Raises ValueError for another version's."""
    if values["version"] != VERSION:
        raise ValueError(f"this checkpoint has version {values['version']}, not {VERSION}")
    return State(
        phase=Phase(values["phase"]),
        step=values["step"],
        round=values["round"],
        labels=_labels_from_json(values["labels"]),
        scores=_scores_from_json(values["scores"]),
        best=_candidate_from_json(values["best"]),
        rival=_candidate_from_json(values["rival"]),
        iterations=values["iterations"],
        accepted=values["accepted"],
        summary=values["summary"],
        stop=None if values["stop"] is None else StopReason(values["stop"]),
    )


def _labels_to_json(labels: Labels) -> list[list[int]]:
    return [[row, label] for row, label in labels.items()]


def _labels_from_json(pairs: list[list[int]]) -> dict[Row, Label]:
    return {Row(row): Label(label) for row, label in pairs}


def _scores_to_json(scores: Scores) -> list[list[Any]]:
    return [[row, list(values)] for row, values in scores.items()]


def _scores_from_json(pairs: list[list[Any]]) -> dict[Row, tuple[float, ...]]:
    return {Row(row): tuple(values) for row, values in pairs}


def _candidate_to_json(candidate: Candidate | None) -> dict[str, Any] | None:
    if candidate is None:
        return None
    return {
        "labels": _labels_to_json(candidate.labels),
        "scores": _scores_to_json(candidate.scores),
        "utility": candidate.utility,
    }


def _candidate_from_json(values: Mapping[str, Any] | None) -> Candidate | None:
    if values is None:
        return None
    return Candidate(_labels_from_json(values["labels"]), _scores_from_json(values["scores"]), values["utility"])
