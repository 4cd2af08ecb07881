"""Hooks with which schemathesis knows rules of this API; it loads this module itself (SCHEMATHESIS_HOOKS).

FUZZ_KNOWN has ids and cursors that exist, by the names of parameters; FUZZ_TALLY is where the counts of requests go.
"""

import atexit
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import Failure
from schemathesis.generation.meta import TestPhase

from tests.fuzz.submissions import configs, files, rows

Case = schemathesis.Case[Any]
KNOWN: dict[str, list[str]] = json.loads(os.environ.get("FUZZ_KNOWN", "{}"))
STREAM, JSON, FORM = "text/event-stream", "application/json", "multipart/form-data"

# Rules that JSON Schema cannot express, by words of their problem documents. If data that fits the document is refused
# with other words, the document is wrong.
BEYOND_SCHEMA = (
    "the cursor was not handed out by this service",
    "the data set's format was not recognized",  # of a file, whose content no schema describes
    "the data set has",  # a number of faults
    "there is no column's name between",  # the braces of a template
    "stands alone",  # a brace in a template
    "the template reads no column",
    "must not hold a line break",  # a label
    "must not be invisible",  # a label
    "the separator",  # must not be a label, nor occur in one
    "the template must not end with white space",
    "a label must not be empty or begin or end",  # with white space, which JavaScript knows less of
    "must differ",  # labels by more than case; gold_field and id_field
    "must not stand in the template",
    "is not one of",  # a relation's label
    "shares must",  # name labels, and be possible together
    "give either `pairs` or a `column`",
    "relates a row to itself",
    "is there twice",
    "there is no model",
    "webhooks cannot be sent there",  # to addresses that are not public, or are none
    "is for format=csv only",
    "a NUL character",  # in rows, as is the next
    "is beyond 64 bits",
    "this Idempotency-Key was used for another",
    "is the id of a training",  # in place of a job's
    "there is no job",  # that a training names, as are the next
    "there is no training",  # that scores texts or labels a job, as are the next
    "name one of kind reward",
    "it can be used once it has succeeded",
    "send texts, or prompts with responses",
    "a request may have 256",
    "is blank",
    "is for method",
    "method 'reward_model'",
    "each may stand there once",
    "its labels can be learned once",
    "compares nothing",
    "says do_not_use",
    "no rows are left to learn from",
    "no group of related rows fits",
    "needs a gold label for every",
    "an unlabeled row has no label to learn",
    "inverted says nothing for kind reward",
    "there is no language model",
    "is missing; kind policy needs",  # fields that go with kind policy alone, or not with it, as are the next
    "is for kind policy alone",
    "lora is the only one",
    "there are none for kind policy",
    "has no effect for kind policy",
    "is measured on held-out prompts",
    "is the reward model itself",
    "reads no column, so that",
    "there is no training",
)
_tally: Counter[tuple[str, str]] = Counter()


@schemathesis.hook
def flatmap_case(context: schemathesis.HookContext, case: Case) -> st.SearchStrategy[Case]:
    """Let half of the valid cases use existing things: known ids and cursors, rows that fit."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return st.just(case)
    return st.one_of(st.just(case), st.just(case).flatmap(_realistic))


@st.composite
def _realistic(draw: st.DrawFn, case: Case) -> Case:
    is_linked = case.meta is not None and case.meta.phase.name is TestPhase.STATEFUL  # ids come from other answers
    for place in () if is_linked else (case.path_parameters, case.query):
        for name in place:
            if name in KNOWN and (case.method != "DELETE" or name == "training_id"):
                place[name] = draw(st.sampled_from(_known(case, name)))
    parts: Any = case.body
    if case.media_type in {FORM, JSON} and isinstance(parts, dict) and "config" in parts:
        read: dict[str, tuple[str, st.SearchStrategy[Any]]] = {FORM: ("dataset", files()), JSON: ("examples", rows())}
        name, content = read[case.media_type]
        parts.clear()  # changed in place, since a new body is checked against the schema, which fits no file
        parts.update({"config": draw(configs()), name: draw(content)})
    if isinstance(parts, dict) and "job_ids" in parts:
        parts.clear()
        asked = {"job_ids": [draw(st.sampled_from(KNOWN["ended"][:2]))], "force": True, "seed": draw(st.integers(0, 9))}
        parts.update(asked)
    case.freeze_metadata()
    return case


def _known(case: Case, name: str) -> list[str]:
    """Existing values of a parameter: unfinished jobs for pause and resume, finished trainings for their files."""
    if case.method == "DELETE":
        return KNOWN["deletable_trainings"]  # other operations create and delete jobs
    if name == "training_id" and case.path.endswith(("/report", "/adapter")):
        return KNOWN["finished_trainings"]
    waiting = {"job_id": "waiting", "training_id": "waiting_trainings"}
    return KNOWN[waiting.get(name, name) if case.path.endswith(("/pause", "/resume")) else name]


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Follow only the streams of ended jobs, since others have no end."""
    answers = case.operation.definition.raw.get("responses", {})
    has_stream = any(STREAM in answer.get("content", {}) for answer in answers.values())
    ended = {*KNOWN.get("ended", []), *KNOWN.get("ended_trainings", [])}
    if has_stream and not ended.intersection(case.path_parameters.values()):
        case.headers["Accept"] = JSON


@schemathesis.hook
def after_call(context: schemathesis.HookContext, case: Case, response: schemathesis.Response) -> None:
    """Count the response."""
    _tally[case.operation.label, f"{response.status_code // 100}xx"] += 1


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: Case, response: schemathesis.Response
) -> bool:
    """Whether a failure is one: valid data may be refused by the rules above, and told so in their words.

    A case whose Accept header was set here gets its key back, though it was to lack one.
    """
    if type(failure).__name__ == "MissingHeaderNotRejected":
        return "Authorization" not in response.request.headers
    if type(failure).__name__ != "RejectedPositiveData":
        return True
    told = response.json()
    words = [told["detail"], *(fault["message"] for fault in told.get("errors") or ())]
    return not any(rule in word for rule in BEYOND_SCHEMA for word in words)


@atexit.register
def _tell() -> None:
    if path := os.environ.get("FUZZ_TALLY"):
        counts = [[label, kind, count] for (label, kind), count in sorted(_tally.items())]
        Path(path).write_text(json.dumps(counts))
