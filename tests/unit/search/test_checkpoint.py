from dataclasses import replace
from typing import Any

import orjson
import pytest

from service.identifiers import Label, Row
from service.search.predictions.panel import Member, Panel
from service.search.state.checkpoint import LaterVersion, OtherVersion, from_json, panel_of, to_json
from service.search.state.steps import Candidate, Phase, State, StopReason

PANEL = Panel(
    members=(
        Member(((Row(4), Label(1)), (Row(0), Label(0))), (0.0, -1.25), 0.5),
        Member((), (0.0, 2.5), 0.01),
    ),
    shift=(0.0, 0.125),
    first=1,
    first_shift=(0.0, -0.5),
    sharpness=1.75,
    certainty=2.5,
)
LABELS = {Row(4): Label(1), Row(0): Label(0)}
SCORES = {Row(4): (-2.0, -0.5), Row(0): (-0.25, -1.5)}
STATE = State(
    phase=Phase.DONE,
    step=7,
    labels=LABELS,
    scores=SCORES,
    raw={Row(4): (-1.5, -0.25)},
    impression={Row(0): (-0.75, -0.5)},
    best=Candidate(LABELS, SCORES, 3.5),
    starts=(Candidate(LABELS, {}, 1.5),),
    turned=True,
    panel=PANEL,
    stop=StopReason.NOT_BORNE_OUT,
)


def stored(state: State) -> dict[str, Any]:
    values: dict[str, Any] = orjson.loads(orjson.dumps(to_json(state)))
    return values


def as_of_version_2(state: State) -> dict[str, Any]:
    """The same as the release before stored it."""
    values = {name: value for name, value in stored(state).items() if name not in ("impression", "turned", "panel")}
    return {**values, "version": 2}


def test_a_checkpoint_from_before_raw_scores_were_kept_is_read() -> None:
    values = {name: value for name, value in stored(STATE).items() if name != "raw"}
    assert from_json(values) == replace(STATE, raw={})


def test_the_impression_the_turn_and_the_panel_come_back_as_they_were() -> None:
    assert from_json(stored(STATE)) == STATE
    assert from_json(stored(State())) == State()


def test_demonstrations_of_a_panel_keep_their_order() -> None:
    found = from_json(stored(STATE)).panel
    assert found is not None
    assert list(dict(found.members[0].demonstrations)) == [4, 0]


def test_a_checkpoint_of_the_release_before_is_read_and_has_no_panel() -> None:
    found = from_json(as_of_version_2(STATE))
    assert (found.impression, found.turned, found.panel) == ({}, False, None)
    assert (found.labels, found.scores, found.best, found.stop) == (LABELS, SCORES, STATE.best, STATE.stop)
    assert panel_of(as_of_version_2(STATE)) is None


def test_the_panel_alone_can_be_read() -> None:
    assert panel_of(stored(STATE)) == PANEL
    assert panel_of(stored(State())) is None


def test_a_panel_from_before_confidences_were_matched_to_agreement_has_no_certainty() -> None:
    values = stored(STATE)
    del values["panel"]["certainty"]
    assert panel_of(values) == replace(PANEL, certainty=None)


@pytest.mark.parametrize(("version", "error"), [(1, OtherVersion), (4, LaterVersion)])
def test_other_versions_are_refused_and_have_no_panel(version: int, error: type[OtherVersion]) -> None:
    values = {**stored(STATE), "version": version}
    with pytest.raises(OtherVersion) as caught:
        from_json(values)
    assert type(caught.value) is error
    assert panel_of(values) is None
