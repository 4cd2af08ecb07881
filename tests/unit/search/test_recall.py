"""Prompt trees without the queries answered before give the same scores as whole ones."""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.identifiers import Label, ProjectName, Row
from service.search.predictions.prompt_tree import LogProbabilities, PromptTree, Query, TreeScores, Usage
from service.search.predictions.training import TrainAndScore, TrainingExample
from service.search.prompting.recall import (
    KEY_BYTES,
    KeyedRequest,
    PromptKey,
    answered,
    by_key,
    keyed,
    trained_keys,
    unanswered,
)

LABELS = ("True", "False")
BIRDS, FISH = ProjectName("birds"), ProjectName("fish")
TEXTS = st.sampled_from(["", "a", "b", "ab", "ä 🙂"])


def numbered(tree: PromptTree, rows: "itertools.count[int]") -> PromptTree:
    """The tree with a row of its own for every query."""
    queries = tuple(Query(Row(next(rows)), query.text) for query in tree.queries)
    return PromptTree(tree.text, queries, tuple(numbered(child, rows) for child in tree.children))


QUERIES = st.lists(st.builds(Query, st.just(Row(0)), TEXTS), max_size=3).map(tuple)
LEAVES = st.builds(PromptTree, TEXTS, QUERIES)
TREES = st.recursive(
    LEAVES, lambda below: st.builds(PromptTree, TEXTS, QUERIES, st.lists(below, max_size=3).map(tuple)), max_leaves=12
).map(lambda tree: numbered(tree, itertools.count()))
REQUESTS = st.lists(TREES, max_size=4)


def say(prompt: str) -> LogProbabilities:
    """A language model: two numbers that the prompt alone decides."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return (-digest[0] / 16, -digest[1] / 16)


def score(tree: PromptTree) -> TreeScores:
    prompts = list(tree.prompts())
    return TreeScores({row: say(prompt) for row, prompt in prompts}, Usage(prompts=len(prompts)))


def ask(asked: KeyedRequest) -> dict[PromptKey, LogProbabilities]:
    pairs = zip(asked.trees, asked.keys, strict=True)
    return {key: values for tree, keys in pairs for key, values in by_key(keys, score(tree)).items()}


def nodes(tree: PromptTree) -> list[PromptTree]:
    return [tree, *(node for child in tree.children for node in nodes(child))]


@given(REQUESTS, st.randoms(use_true_random=False))
def test_merged_answers_equal_those_of_the_whole_trees(trees: Sequence[PromptTree], random: Random) -> None:
    request = keyed(trees, LABELS, project=BIRDS)
    everything = ask(request)
    known = {key: values for key, values in everything.items() if random.random() < 0.5}
    answers = dict(known)
    for asked in unanswered(request, known):
        answers |= ask(asked)
    merged = answered(request, answers)
    assert [scores.log_probabilities for scores in merged] == [score(tree).log_probabilities for tree in trees]
    assert sum(scores.usage.prompts for scores in merged) == 0


@given(REQUESTS, st.randoms(use_true_random=False))
def test_each_unknown_prompt_is_asked_once_and_nothing_else(trees: Sequence[PromptTree], random: Random) -> None:
    request = keyed(trees, LABELS, project=BIRDS)
    known = {key: (0.0, 0.0) for key in sorted(request.distinct_keys) if random.random() < 0.5}
    asked = unanswered(request, known)
    prompts = [prompt for each in asked for tree in each.trees for _, prompt in tree.prompts()]
    keys = [key for each in asked for of_tree in each.keys for key in of_tree.values()]
    assert sorted(keys) == sorted(request.distinct_keys - set(known))
    assert len(set(prompts)) == len(prompts) == len(keys)


@given(REQUESTS)
def test_branches_without_a_question_vanish(trees: Sequence[PromptTree]) -> None:
    for asked in unanswered(keyed(trees, LABELS, project=BIRDS), {}):
        for tree in asked.trees:
            assert all(list(node.prompts()) for node in nodes(tree))


@given(REQUESTS)
def test_nothing_is_asked_of_what_is_known(trees: Sequence[PromptTree]) -> None:
    request = keyed(trees, LABELS, project=BIRDS)
    assert unanswered(request, ask(request)) == []


@given(REQUESTS)
def test_two_prompts_share_a_key_only_where_they_read_alike(trees: Sequence[PromptTree]) -> None:
    request = keyed(trees, LABELS, project=BIRDS)
    read = {key: prompt for tree, keys in zip(trees, request.keys, strict=True) for key, prompt in by_text(tree, keys)}
    assert len(set(read.values())) == len(read)
    assert set(map(len, read)) <= {KEY_BYTES}


def by_text(tree: PromptTree, keys: Mapping[Row, PromptKey]) -> list[tuple[PromptKey, str]]:
    return [(keys[row], prompt) for row, prompt in tree.prompts()]


def test_the_same_prompt_has_the_same_key_wherever_its_tree_branches() -> None:
    whole = PromptTree("a b c", (Query(Row(0), " d"),))
    in_parts = PromptTree("a ", (), (PromptTree("b c", (), (PromptTree("", (Query(Row(7), " d"),)),)),))
    request = keyed([whole, in_parts], LABELS, project=BIRDS)
    assert request.keys[0][Row(0)] == request.keys[1][Row(7)]
    assert [asked.prompts for asked in unanswered(request, {})] == [1]


def test_another_label_set_way_to_spell_labels_or_project_is_another_question() -> None:
    tree = PromptTree("a", (Query(Row(0), "b"),))
    sets = [("True", "False"), ("False", "True"), ("TrueFalse",), ("True", "False", ""), ("T", "rueFalse")]
    keys = {
        keyed([tree], labels, project=project, all_spellings=spelled).keys[0][Row(0)]
        for labels, project, spelled in itertools.product(sets, (BIRDS, FISH), (False, True))
    }
    assert len(keys) == 4 * len(sets)


@pytest.mark.parametrize("labels", [("1", "10"), ("No", "not"), ("größer", "ç")])
def test_another_separator_is_another_question_where_it_may_end_a_label(labels: tuple[str, ...]) -> None:
    assert len(keys_by_separator(labels)) == 3


def test_another_separator_is_the_same_question_where_it_ends_no_label() -> None:
    assert len(keys_by_separator(LABELS)) == 1


def keys_by_separator(labels: tuple[str, ...]) -> set[PromptKey]:
    tree = PromptTree("a", (Query(Row(0), "b"),))
    return {
        keyed([tree], labels, project=BIRDS, separator=separator).keys[0][Row(0)] for separator in ("", "\n", "\n\n")
    }


TRAINING = TrainAndScore(
    examples=(TrainingExample(Row(0), "a", Label(0)), TrainingExample(Row(1), "b", Label(1))),
    queries=(Query(Row(2), "c"), Query(Row(3), "d")),
    epochs=3,
)


def keys_of(asked: TrainAndScore = TRAINING, labels: Sequence[str] = LABELS, **others: object) -> dict[Row, PromptKey]:
    told = {"project": BIRDS, "trainer": "base", "separator": "\n", **others}
    return trained_keys(asked, labels, **told)  # type: ignore[arg-type]  # a project's name is a text


@pytest.mark.parametrize(
    "other",
    [
        keys_of(replace(TRAINING, epochs=2)),
        keys_of(replace(TRAINING, learning_rate=0.1)),
        keys_of(replace(TRAINING, seed=1)),
        keys_of(replace(TRAINING, examples=TRAINING.examples[:1])),
        keys_of(replace(TRAINING, examples=TRAINING.examples[::-1])),
        keys_of(replace(TRAINING, examples=tuple(replace(one, label=Label(0)) for one in TRAINING.examples))),
        keys_of(replace(TRAINING, examples=tuple(replace(one, text="c") for one in TRAINING.examples))),
        keys_of(replace(TRAINING, examples=tuple(replace(one, weight=0.5) for one in TRAINING.examples))),
        keys_of(replace(TRAINING, queries=tuple(replace(query, text="e") for query in TRAINING.queries))),
        keys_of(labels=LABELS[::-1]),
        keys_of(project=FISH),
        keys_of(trainer="other"),
        keys_of(separator=" "),
        keys_of(all_spellings=True),
    ],
)
def test_trainings_that_differ_in_anything_have_different_keys(other: Mapping[Row, PromptKey]) -> None:
    assert set(keys_of().values()).isdisjoint(other.values())


def test_a_row_has_the_same_key_whatever_else_is_asked_of_a_training() -> None:
    alone = replace(TRAINING, queries=TRAINING.queries[1:])
    assert keys_of(alone) == {Row(3): keys_of()[Row(3)]}
    assert len(set(keys_of().values())) == 2
    prompts = keyed([PromptTree("", TRAINING.queries)], LABELS, project=BIRDS)
    assert prompts.distinct_keys.isdisjoint(keys_of().values())
