"""Converts a search's state to plain JSON values and back, so that a worker can store and resume it."""

from collections.abc import Mapping
from typing import Any

from service.identifiers import Label, Row
from service.search.predictions.panel import Member, Panel
from service.search.predictions.scores import Scores
from service.search.rules.consistency import Labels
from service.search.state.steps import Candidate, Phase, State, StopReason

VERSION = 3
_READ = (2, 3)  # version 2 had no first impression and no panel


class OtherVersion(ValueError):
    """Another release stored the state; this one cannot resume it."""


class LaterVersion(OtherVersion):
    """A later release stored the state; a worker of that release can resume it."""


def to_json(state: State) -> dict[str, Any]:
    """The state as plain values, from which `from_json` makes an equal state."""
    return {
        "version": VERSION,
        "phase": state.phase.value,
        "step": state.step,
        "round": state.round,
        "labels": _labels_to_json(state.labels),
        "scores": _scores_to_json(state.scores),
        "raw": _scores_to_json(state.raw),
        "impression": _scores_to_json(state.impression),
        "source": None if state.source is None else _panel_to_json(state.source),
        "turned": state.turned,
        "panel": None if state.panel is None else _panel_to_json(state.panel),
        "best": None if state.best is None else _candidate_to_json(state.best),
        "starts": [_candidate_to_json(found) for found in state.starts],
        "iterations": state.iterations,
        "accepted": state.accepted,
        "unproven": state.unproven,
        "summary": dict(state.facts),
        "stop": None if state.stop is None else state.stop.value,
    }


def from_json(values: Mapping[str, Any]) -> State:
    """The state from stored values. Raises OtherVersion, LaterVersion."""
    if values["version"] not in _READ:
        kind = LaterVersion if values["version"] > VERSION else OtherVersion
        raise kind(f"this checkpoint has version {values['version']}, not {VERSION}")
    return State(
        phase=Phase(values["phase"]),
        step=values["step"],
        round=values["round"],
        labels=_labels_from_json(values["labels"]),
        scores=_scores_from_json(values["scores"]),
        raw=_scores_from_json(values.get("raw", [])),
        impression=_scores_from_json(values.get("impression", [])),
        source=None if values.get("source") is None else _panel_from_json(values["source"]),
        turned=values.get("turned", False) or values["summary"].get("turned", False),  # where version 2 put it
        panel=None if values.get("panel") is None else _panel_from_json(values["panel"]),
        best=None if values["best"] is None else _candidate_from_json(values["best"]),
        starts=tuple(_candidate_from_json(found) for found in values["starts"]),
        iterations=values["iterations"],
        accepted=values["accepted"],
        unproven=values["unproven"],
        facts=values["summary"],
        stop=None if values["stop"] is None else StopReason(values["stop"]),
    )


def panel_of(values: Mapping[str, Any]) -> Panel | None:
    """The panel of a stored state; None if it has none, or if another version stored it."""
    return from_json(values).panel if values["version"] in _READ else None


def _labels_to_json(labels: Labels) -> list[list[int]]:
    return [[row, label] for row, label in labels.items()]


def _labels_from_json(pairs: list[list[int]]) -> dict[Row, Label]:
    return {Row(row): Label(label) for row, label in pairs}


def _scores_to_json(scores: Scores) -> list[list[Any]]:
    return [[row, list(values)] for row, values in scores.items()]


def _scores_from_json(pairs: list[list[Any]]) -> dict[Row, tuple[float, ...]]:
    return {Row(row): tuple(values) for row, values in pairs}


def _candidate_to_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "labels": _labels_to_json(candidate.labels),
        "scores": _scores_to_json(candidate.scores),
        "utility": candidate.utility,
    }


def _candidate_from_json(values: Mapping[str, Any]) -> Candidate:
    return Candidate(_labels_from_json(values["labels"]), _scores_from_json(values["scores"]), values["utility"])


def _panel_to_json(panel: Panel) -> dict[str, Any]:
    members = [
        {"demonstrations": [list(pair) for pair in m.demonstrations], "shift": list(m.shift), "weight": m.weight}
        | ({"reading": list(m.reading)} if m.reading else {})
        for m in panel.members
    ]
    rest = {"shift": list(panel.shift), "first": panel.first, "first_shift": list(panel.first_shift)}
    return {"members": members, "sharpness": panel.sharpness, "certainty": panel.certainty, **rest}


def _panel_from_json(values: Mapping[str, Any]) -> Panel:
    members = tuple(
        Member(
            tuple((Row(row), Label(label)) for row, label in m["demonstrations"]),
            tuple(m["shift"]),
            m["weight"],
            tuple(map(Label, m.get("reading", ()))),
        )
        for m in values["members"]
    )
    shift, first_shift = tuple(values["shift"]), tuple(values["first_shift"])
    return Panel(members, shift, values["first"], first_shift, values["sharpness"], values.get("certainty"))
