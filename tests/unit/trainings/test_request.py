"""A request for a training is refused field by field, in the words of its author."""

import hashlib
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from api.labelling.configuration import parse_config
from service.errors import InvalidConfig
from service.trainings.create import request_sha256, spec_of
from service.trainings.request import parse_request


def test_missing_fields_of_a_request_have_defaults() -> None:
    request = parse_request({"job_ids": ["job_1"]})
    assert (request.kind, request.method, request.rank, request.epochs, request.seed) == ("label", "lora", 16, 3, 0)
    assert (request.rows.min_confidence, request.rows.statuses, request.rows.holdout) == (0.0, ["labeled"], 0.1)


@pytest.mark.parametrize(
    ("changed", "field", "told"),
    [
        ({"job_ids": []}, "job_ids", "must have at least 1 member, and has 0"),
        ({"job_ids": ["a", "a"]}, "job_ids", "each may stand there once"),
        ({"kind": "ppo"}, "kind", "must be one of 'label', 'reward' or 'policy'"),
        ({"rank": 0}, "rank", "must be at least 1"),
        ({"rank": "8"}, "rank", "must be a whole number"),
        ({"learning_rate": 1}, "learning_rate", "must be less than 1"),
        ({"lerning_rate": 0.1}, "lerning_rate", "did you mean 'learning_rate'?"),
        ({"rows": {"holdout": 0.95}}, "rows.holdout", "must be at most 0.9"),
        ({"rows": {"statuses": ["unlabeled"]}}, "rows.statuses", "an unlabeled row has no label"),
        ({"rows": {"weight": "none"}}, "rows.weight", "did you mean 'weights'?"),
        ({"rows": {"statuses": []}}, "rows.statuses", "must have at least 1 member, and has 0"),
        ({"rows": []}, "rows", "must be an object"),
        ({"min_confidence": 0.5}, "min_confidence", "did you mean 'rows.min_confidence'?"),
        ({"Epochs": 3}, "Epochs", "did you mean 'epochs'?"),
        ({"kind": "reward", "controls": ["inverted"]}, "controls", "inverted says nothing for kind reward"),
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


POLICY: dict[str, Any] = {"kind": "policy", "policy": {"reward": "train_1"}}


def test_a_policy_needs_a_reward_model_alone() -> None:
    settings = parse_request({"job_ids": ["job_1"], **POLICY}).policy
    assert settings is not None
    assert (settings.judge, settings.prompt, settings.stop) == (None, None, None)
    assert (settings.completions, settings.completion_tokens, settings.kl_limit) == (4, 64, 10)


@pytest.mark.parametrize(
    ("changed", "field", "told"),
    [
        ({"policy": None}, "policy", "is missing; kind policy needs the id of a reward model in policy.reward"),
        ({"policy": {}}, "policy.reward", "is missing"),
        ({"kind": "label"}, "policy", "is for kind policy alone"),
        ({"reward": "train_1"}, "reward", "did you mean 'policy.reward'?"),
        ({"policy": {"reward": "train_1", "juge": "x"}}, "policy.juge", "did you mean 'judge'?"),
        ({"policy": {"reward": "a", "judge": "a"}}, "policy.judge", "is the reward model itself"),
        ({"policy": {"reward": "a", "prompt": "Say:"}}, "policy.prompt", "reads no column"),
        ({"policy": {"reward": "a", "prompt": "{a"}}, "policy.prompt", "the { at character 1 stands alone"),
        ({"policy": {"reward": "a", "prompt": ""}}, "policy.prompt", "must have at least 1 character"),
        ({"policy": {"reward": "a", "completions": 1}}, "policy.completions", "must be at least 2"),
        ({"policy": {"reward": "a", "kl_limit": 0}}, "policy.kl_limit", "must be greater than 0"),
        ({"policy": {"reward": "a", "kl_weight": float("inf")}}, "policy.kl_weight", "must be at most 1000000"),
        ({"policy": {"reward": "a", "completion_tokens": 0}}, "policy.completion_tokens", "must be at least 1"),
        ({"method": "full"}, "method", "lora is the only one for kind policy"),
        ({"controls": ["shuffled"]}, "controls", "there are none for kind policy"),
        ({"rows": {"holdout": 0}}, "rows.holdout", "give a share above 0"),
        ({"rows": {"min_confidence": 0.5}}, "rows.min_confidence", "reads the text of every row and no label"),
        ({"rows": {"statuses": ["uncertain"]}}, "rows.statuses", "leave it out"),
        ({"rows": {"weights": "confidence"}}, "rows.weights", "leave it out"),
    ],
)
def test_a_fault_of_a_policy_names_its_field(changed: dict[str, Any], field: str, told: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        parse_request({"job_ids": ["job_1"], **POLICY, **changed})
    [fault] = refused.value.faults
    assert fault.field == field
    assert told in fault.message


def test_all_faults_of_a_policy_are_reported_at_once() -> None:
    with pytest.raises(InvalidConfig) as refused:
        parse_request({"job_ids": ["job_1"], "kind": "policy", "method": "full", "rows": {"holdout": 0}})
    assert [fault.field for fault in refused.value.faults] == ["policy", "method", "rows.holdout"]


def test_a_key_of_a_release_without_policies_still_names_its_request() -> None:
    request = parse_request({"job_ids": ["job_1"]})
    told = request.model_dump(mode="json", exclude={"policy"})
    earlier = hashlib.sha256(b"training\0" + orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()
    assert request_sha256(request) == earlier
    asked = [parse_request({"job_ids": ["job_1"], "kind": "policy", "policy": {"reward": name}}) for name in "ab"]
    assert len({request_sha256(one) for one in (request, *asked)}) == 3


@pytest.mark.parametrize("raw", [None, [], "job_1", {}])
def test_an_invalid_request_is_refused(raw: object) -> None:
    with pytest.raises(InvalidConfig):
        parse_request(raw)


@pytest.mark.parametrize(("counted", "told"), [((True, True), [["7"], ["8"]]), ((True, False), None)])
def test_spellings_count_where_all_jobs_count_them(counted: tuple[bool, ...], told: list[list[str]] | None) -> None:
    tasks = [{"template": "{q}", "labels": ["7", "8"], "all_spellings": each} for each in counted]
    jobs: Any = [SimpleNamespace(config=parse_config({"task": task})) for task in tasks]
    assert spec_of(parse_request({"job_ids": ["job_1", "job_2"]}), jobs).get("spellings") == told
