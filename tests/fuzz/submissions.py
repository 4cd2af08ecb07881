"""Hypothesis strategies for data sets with a fitting configuration, which the API's schema cannot express."""

import csv
import gzip
import io
from typing import Any

import orjson
from hypothesis import strategies as st

_COLUMNS = ("text", "question", "choice", "größe")
_KINDS = ("at_most_one", "exactly_one", "same_label", "different_label")
_WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12).filter(lambda text: text.strip())
_LABELS = st.sampled_from([["True", "False"], ["yes", "no", "maybe"], ["0", "1"], ["ja", "nein"]])

_METHODS = [
    *({"method": name} for name in ("icm", "zero_shot", "few_shot_random", "bootstrap")),
    {"method": "reward_model", "reward": "train_" + "0" * 32},  # which there is not
]


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, str]]:
    """A few rows with the same columns."""
    return draw(st.lists(st.fixed_dictionaries(dict.fromkeys(_COLUMNS, _WORDS)), min_size=1, max_size=6))


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration that fits every data set of this module."""
    labels = draw(_LABELS)
    relation = st.fixed_dictionaries({"kind": st.sampled_from(_KINDS), "group": st.sampled_from(_COLUMNS)})
    comparison = {"kind": "antisymmetric", "first": "question", "second": "choice"}
    pairs = st.lists(st.one_of(relation, st.just(comparison)), max_size=2)
    return {
        "name": draw(_WORDS),
        **draw(st.sampled_from(_METHODS)),
        "task": {
            "template": draw(st.sampled_from(["{text}", "Q: {question}\nA: {choice}", "{größe} {text}"])),
            "labels": labels,
            "gold_field": None,
            "relations": draw(pairs),
        },
        "search": {
            "strategy": draw(st.sampled_from(["folds", "paper", "authors"])),
            "seed": draw(st.integers(0, 2**63 - 1)),
            "restarts": 1,
            "sweeps": 1,
        },
    }


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """The content of a file in one of the formats that the service reads."""
    found = draw(rows())
    content = _as_csv(found) if draw(st.booleans()) else b"".join(orjson.dumps(row) + b"\n" for row in found)
    return gzip.compress(content, mtime=0) if draw(st.booleans()) else content


def _as_csv(found: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS)
    table.writeheader()
    table.writerows(found)
    return text.getvalue().encode()
