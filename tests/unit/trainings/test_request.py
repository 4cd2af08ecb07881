"""A request for a training is refused field by field, in the words of its author."""

from typing import Any

import pytest

from service.errors import InvalidConfig
from service.trainings.request import parse_request


def test_missing_fields_of_a_request_have_defaults() -> None:
    request = parse_request({"job_ids": ["job_1"]})
    assert (request.kind, request.method, request.rank, request.epochs, request.seed) == ("label", "lora", 16, 3, 0)
    assert (request.rows.min_confidence, request.rows.statuses, request.rows.holdout) == (0.0, ["labeled"], 0.1)


@pytest.mark.parametrize(
    ("changed", "field", "told"),
    [
        ({"job_ids": []}, "job_ids", "must have at least 1 members"),
        ({"job_ids": ["a", "a"]}, "job_ids", "each may stand there once"),
        ({"kind": "policy"}, "kind", "must be one of 'label' or 'reward'"),
        ({"rank": 0}, "rank", "must be at least 1"),
        ({"rank": "8"}, "rank", "must be a whole number"),
        ({"epochs": 2.5}, "epochs", "must be a whole number"),
        ({"learning_rate": 1}, "learning_rate", "must be less than 1"),
        ({"lerning_rate": 0.1}, "lerning_rate", "did you mean 'learning_rate'?"),
        ({"rows": {"holdout": 0.95}}, "rows.holdout", "must be at most 0.9"),
        ({"rows": {"statuses": ["unlabeled"]}}, "rows.statuses", "an unlabeled row has no label"),
        ({"rows": {"weight": "none"}}, "rows.weight", "did you mean 'weights'?"),
        ({"rows": {"statuses": []}}, "rows.statuses", "must have at least 1 members"),
        ({"rows": []}, "rows", "must be an object"),
        ({"min_confidence": 0.5}, "min_confidence", "did you mean 'rows.min_confidence'?"),
        ({"Epochs": 3}, "Epochs", "did you mean 'epochs'?"),
        ({"kind": "reward", "controls": ["gold"]}, "controls", "shuffled is the only one for kind reward"),
        ({"controls": ["gold", "gold"]}, "controls", "each may stand there once"),
        ({"seed": -1}, "seed", "must be at least 0"),
        ({"force": "yes"}, "force", "must be true or false"),
    ],
)
def test_a_fault_names_its_field(changed: dict[str, Any], field: str, told: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        parse_request({"job_ids": ["job_1"], **changed})
    [fault] = refused.value.faults
    assert fault.field == field
    assert told in fault.message


@pytest.mark.parametrize("raw", [None, [], "job_1", {}])
def test_an_invalid_request_is_refused(raw: object) -> None:
    with pytest.raises(InvalidConfig):
        parse_request(raw)
