import re
from dataclasses import replace
from typing import Any

import pytest

from service.config import JobConfig, SearchConfig
from service.jobs.submission.estimate import Estimate, estimate
from service.jobs.submission.job_warnings import warnings_of
from service.jobs.submission.preparation import prepare
from service.scoring.registry import ConfiguredScorers
from service.search.strategies.registry import Method, StrategyName
from tests.support.sources import CountingScorer, config, source


async def estimated(chosen: JobConfig, *rows: object) -> Estimate:
    return await estimate(chosen, source(*rows), ConfiguredScorers({"default": CountingScorer()}))


async def warnings_about(chosen: JobConfig, *rows: object) -> tuple[str, ...]:
    """The estimate's warnings, without the prediction of the cost, which simulates a search."""
    return warnings_of(await prepare(chosen, source(*rows), ConfiguredScorers({"default": CountingScorer()})))


PAIRS = config(
    "Is {a} larger than {b}? It is",
    relations=[{"kind": "antisymmetric", "first": "a", "second": "b"}],
    labels=["Yes", "No"],
)


async def test_rows_groups_shards_and_cost_are_reported() -> None:
    found = await estimated(PAIRS, *({"a": n + s, "b": n + 1 - s} for n in range(10) for s in (0, 1)))
    assert (found.rows, found.groups, found.shards) == (20, 10, 1)
    assert 0 < found.usage.tokens_computed < found.usage.tokens_sent
    assert found.usage.prompts >= 20
    assert found.most is not None
    assert found.most.prompts > found.usage.prompts
    assert found.warnings == ()


async def test_advice_about_the_backend_is_among_the_warnings() -> None:
    scorers = ConfiguredScorers({"default": CountingScorer(advice=["launch the server with --fast"])})
    found = await estimate(PAIRS, source({"a": 1, "b": 2}, {"a": 2, "b": 1}), scorers)
    assert found.warnings == ("about the model: launch the server with --fast",)


async def test_a_large_data_set_has_several_shards() -> None:
    found = await estimated(config(search={"anchor_rows": 16}), *({"q": number} for number in range(40)))
    assert found.shards > 1


async def test_the_sample_prompt_is_the_first_row_behind_a_demonstration() -> None:
    found = await estimated(PAIRS, {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 5, "b": 6})
    assert found.sample_prompt == "Is 2 larger than 1? It is Yes\n\nIs 1 larger than 2? It is"


@pytest.mark.parametrize(("cells", "told"), [((None, "no"), "No"), (("No", None), "Yes"), (("yes", "no", None), "No")])
async def test_the_sample_prompt_shows_a_known_row_with_its_known_label(
    cells: tuple[str | None, ...], told: str
) -> None:
    rows = [{"q": number, "k": cell} for number, cell in enumerate(cells)]
    found = await estimated(config(labels=["Yes", "No"], known_field="k"), *rows)
    assert found.sample_prompt == f"1 is {told}\n\n0 is"


async def test_a_single_row_is_a_sample_by_itself() -> None:
    assert (await estimated(config(), {"q": "x"})).sample_prompt == "x is"


async def test_relations_are_previewed() -> None:
    found = await estimated(PAIRS, {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 7, "b": 8})
    assert (found.relations.groups, found.relations.largest_group) == (2, 3)
    assert found.relations.rows_without_related_rows == 1
    assert found.relations.rows_lacking_their_twin == 1


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"q": "a"}, {"q": "a"}, {"q": "b"}], "exactly like"),
        ([{"q": "a\n\nb"}], "separator"),
        ([{"q": "a is True\n\nb is False\n\nc"}], "1 row contains a label followed by the separator"),
        ([{"q": "a"}, {"q": "b"}, {"q": "w " * 200}], "as long as the median"),
    ],
)
async def test_doubtful_data_gets_a_warning(rows: list[dict[str, str]], told: str) -> None:
    found = await warnings_about(config(), *rows)
    assert any(told in warning for warning in found)


@pytest.mark.parametrize(("objective", "warned"), [("utility", True), ("gain", False)])
async def test_missing_relations_get_a_warning_where_nothing_else_keeps_labels_apart(
    objective: str, warned: bool
) -> None:
    found = await warnings_about(config(search={"objective": objective}), {"q": "a"}, {"q": "b"})
    assert any("no relations" in warning for warning in found) is warned


async def test_relations_are_counted_one_by_one_and_rows_related_to_themselves_are_reported() -> None:
    order = {"kind": "transitive", "first": "a", "second": "b"}
    chosen = config("{a} > {b}", relations=[order, {"kind": "pairs", "rule": "same_label", "pairs": [["0", "1"]]}])
    found = await estimated(chosen, *({"a": a, "b": b} for a, b in ((3, 2), (2, 1), (3, 1), (4, 4))))
    by_relation = found.relations.by_relation
    assert [(count.kind, count.rows, count.constraints, count.largest_group) for count in by_relation] == [
        ("transitive", 3, 1, 3),
        ("pairs", 2, 1, 2),
    ]
    assert "the relation transitive (relations.0) leaves out 1 row related to itself" in found.warnings


async def test_rows_without_a_group_are_counted_in_a_warning() -> None:
    chosen = config(relations=[{"kind": "at_most_one", "group": "g", "distinct": "d"}])
    found = await estimated(chosen, *({"q": n, "g": g, "d": n} for n, g in enumerate(["", " ", None, "x", "x"])))
    told = "the relation at_most_one (relations.0) leaves out 3 rows in which 'g' or 'd' is blank: they have no group"
    assert told in found.warnings
    assert found.relations.groups == 4


@pytest.mark.parametrize("word", ["NA", " NULL "])
async def test_words_for_missing_values_get_a_warning_if_they_make_a_group(word: str) -> None:
    chosen = config(relations=[{"kind": "at_most_one", "group": "g"}])
    found = await warnings_about(chosen, *({"q": n, "g": g} for n, g in enumerate([word, word, "x", "x"])))
    [told] = [warning for warning in found if "leave these cells blank" in warning]
    assert told.startswith(
        "the relation at_most_one (relations.0) takes the text NA, null or the like for a value: 2 rows have it in 'g';"
    )
    once = await warnings_about(chosen, *({"q": n, "g": g} for n, g in enumerate([word, "nation", "x", "x"])))
    assert not [warning for warning in once if "leave these cells blank" in warning]


@pytest.mark.parametrize("other", ["AB", " ab", "ab\u00a0"])
async def test_groups_that_differ_only_in_spaces_or_case_get_a_warning(other: str) -> None:
    chosen = config(relations=[{"kind": "at_most_one", "group": "g"}])
    found = await warnings_about(chosen, *({"q": n, "g": g} for n, g in enumerate(["ab", "ab", other, other, "x"])))
    [told] = [warning for warning in found if "spaces or case" in warning]
    assert told.startswith("the relation at_most_one (relations.0) keeps 1 group apart from one whose 'g' differs only")
    assert f"such as {other!r} and 'ab'" in told


async def test_groups_that_differ_otherwise_or_in_no_text_get_no_warning() -> None:
    chosen = config(relations=[{"kind": "at_most_one", "group": "g"}])
    found = await warnings_about(chosen, *({"q": n, "g": g} for n, g in enumerate(["a b", "ab", 1, "1", "a-b", True])))
    assert not [warning for warning in found if "spaces or case" in warning]


async def test_groups_of_one_whose_label_the_relation_decides_get_a_warning() -> None:
    chosen = config(relations=[{"kind": "exactly_one", "group": "g", "label": "False"}])
    found = await warnings_about(chosen, *({"q": n, "g": g} for n, g in enumerate("abcc")))
    told = "the relation exactly_one (relations.0) has 2 groups of one: it gives each of them the label 'False'"
    assert told in found
    chosen = config(relations=[{"kind": "at_most_one", "group": "g"}])
    found = await warnings_about(chosen, *({"q": n, "g": g} for n, g in enumerate("abcc")))
    assert not [warning for warning in found if "groups of one" in warning]


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ({"batch_rows": 64}, "search.batch_rows has no effect with strategy 'folds': it is for 'iterative'"),
        (
            {"strategy": "paper", "epochs": 5},
            "search.epochs has no effect with strategy 'paper': it is for 'scalable' and 'iterative'",
        ),
    ],
)
async def test_parameters_of_another_strategy_get_a_warning(search: dict[str, Any], told: str) -> None:
    found = await warnings_about(config(search=search), *({"q": number} for number in range(12)))
    assert told in found


async def test_groups_that_cannot_keep_their_relations_get_a_warning_where_others_can() -> None:
    chosen = config(relations=[{"kind": "different_label", "group": "g"}])
    found = await warnings_about(chosen, *({"q": n, "g": g} for n, g in enumerate("aaabbcccc")))
    [warning] = [warning for warning in found if "no labelling" in warning]
    assert warning.startswith("on lines 1, 2, 3 no labelling with these 2 labels keeps different_label (relations.0); ")
    assert warning.endswith("and 1 more group is such")


async def test_a_relation_that_ties_nothing_is_reported() -> None:
    found = await warnings_about(config(relations=[{"kind": "at_most_one", "group": "q"}]), {"q": 1}, {"q": 2})
    assert "the relation at_most_one (relations.0) ties no rows" in found


async def test_known_rows_are_counted_by_label_and_a_label_without_any_gets_a_warning() -> None:
    found = await estimated(config(known_field="sure"), {"q": 1, "sure": "true"}, {"q": 2, "sure": True}, {"q": 3})
    assert found.known == {"True": 2, "False": 0}
    assert [told for told in found.warnings if "known" in told] == [
        "no known row has the label 'False': the known rows say nothing of it"
    ]
    assert (await estimated(config(), {"q": 1})).known == {}


@pytest.mark.parametrize(("known", "outside"), [(12, 4), (8, 0)])
async def test_known_rows_without_room_in_the_anchor_get_a_warning(known: int, outside: int) -> None:
    rows = [{"q": n, "sure": ("True", "False")[n % 2] if n < known else None} for n in range(40)]
    found = await warnings_about(config(known_field="sure", search={"anchor_rows": 16}), *rows)
    told = [warning for warning in found if "known" in warning]
    assert [warning.split(" rows")[0] for warning in told] == [f"{outside} of {known} known"] * bool(outside)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({}, ["of 4 rows with gold 3 hold none of the labels: 'yes' in 2, '0' in 1"]),
        ({"gold_values": {"YES": "True"}}, ["of 4 rows with gold 1 holds none of the labels"]),
        ({"gold_values": {"yes": "True", "0": "False"}}, []),
    ],
)
async def test_gold_that_is_none_of_the_labels_gets_a_warning(task: dict[str, Any], told: list[str]) -> None:
    rows = [{"q": n, "gold": gold} for n, gold in enumerate(["yes", "yes", 0, True, None])]
    warned = [
        warning for warning in await warnings_about(config(gold_field="gold", **task), *rows) if "gold" in warning
    ]
    assert [warning.startswith(start) for warning, start in zip(warned, told, strict=True)] == [True] * len(told)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["yes", "yes", "no"], """{"yes": "...", "no": "..."} with a label in place of each ..."""),
        (["yes", "NA", "NA"], """{"yes": "..."} with a label in place of each ..."""),
        (["NA", "nan", "NA"], "Leave these cells blank if no gold is known there"),
    ],
)
async def test_no_label_is_suggested_for_gold_that_is_none_of_them(values: list[str], told: str) -> None:
    found = await warnings_about(config(gold_field="gold"), *({"q": n, "gold": gold} for n, gold in enumerate(values)))
    [warning] = [warning for warning in found if "with gold" in warning]
    assert warning.endswith(told)
    assert '"True"' not in warning


@pytest.mark.parametrize("gold", [None, " "])
async def test_a_gold_column_without_any_gold_gets_a_warning(gold: str | None) -> None:
    found = await warnings_about(config(gold_field="gold"), *({"q": n, "gold": gold} for n in range(4)))
    assert [warning for warning in found if "gold" in warning] == [
        "no row has gold: 'gold' is blank or null in all rows, so the report gives no accuracy"
    ]


ONE = {"kind": "exactly_one", "group": "g"}


@pytest.mark.parametrize(
    ("relation", "shares", "told"),
    [
        (ONE, {"True": 0.5}, ["exactly_one (relations.0) leaves room for 4 to 4 of 12 rows with the label 'True'"]),
        (ONE, {"False": [0.0, 0.5]}, ["the shares for 6 to 12"]),
        (ONE, {"True": [0.3, 0.5]}, []),
        ({**ONE, "kind": "at_most_one"}, {"True": 0.5}, ["for 0 to 4 of 12 rows"]),
        ({**ONE, "kind": "at_most_one"}, {"True": 0.1}, []),
        ({**ONE, "distinct": "q"}, {"True": 0.1}, ["for 4 to 12 of 12 rows"]),
        ({**ONE, "distinct": "q"}, {"True": 0.9}, []),
        ({"kind": "same_label", "group": "g"}, {"True": 0.1}, []),
    ],
)
async def test_shares_that_a_relation_leaves_no_room_for_get_a_warning(
    relation: dict[str, object], shares: dict[str, object], told: list[str]
) -> None:
    rows = [{"q": n, "g": n // 3} for n in range(12)]
    found = await warnings_about(config(relations=[relation], shares=shares), *rows)
    warned = [warning for warning in found if "shares" in warning]
    assert len(warned) == len(told)
    assert all(words in warning for words, warning in zip(told, warned, strict=True))


async def test_twins_make_half_of_the_labels_true() -> None:
    rows = [{"a": n + s, "b": n + 1 - s} for n in range(10) for s in (0, 1)]
    task = replace(PAIRS.task, shares={"Yes": 0.3})
    found = await warnings_about(replace(PAIRS, task=task), *rows)
    assert "antisymmetric (relations.0) leaves room for 10 to 10 of 20 rows" in found[0]


@pytest.mark.parametrize(("method", "warned"), [(Method.ICM, False), (Method.ZERO_SHOT, True)])
async def test_a_strategy_beside_a_method_that_has_none_gets_a_warning(method: Method, warned: bool) -> None:
    asked = replace(config(), method=method, search=SearchConfig(strategy=StrategyName.PAPER))
    found = await warnings_about(asked, {"q": 1}, {"q": 2})
    assert ("search.strategy has no effect with method 'zero_shot': it is for 'icm'" in found) is warned


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("${text}", "'$' before {text}"),
        ("Price: #{text}", "'#' before {text}"),
        ("Is {other} $text", "'$text'"),
        ("Is {other} %(text)s", "'%(text)s'"),
        ("{{{text}}}", "{text} between doubled braces"),
        ("Is {other} {{ {text} }}?", "{text} between doubled braces"),
        ("Is {other} <text>", "'<text>'"),
        ("Is {other} <%= text %>", "'<%= text %>'"),
        ("Is {other} [text]", "'[text]'"),
        ("Is {other} [[Text]]", "'[[Text]]'"),
        ("Is {other} %text%", "'%text%'"),
        ("Is {other} :text", "':text'"),
        ("Is {other} {{ row.text }}", "'{ row.text }'"),
        ("Is {other} {{row['text']}}", "\"{row['text']}\""),
        ("Is {other} {{ text | trim }}", "'{ text | trim }'"),
    ],
)
async def test_a_placeholder_of_another_language_gets_a_warning_with_our_own(template: str, told: str) -> None:
    found = await warnings_about(config(template), *({"text": f"t{n}", "other": n} for n in range(2)))
    [warning] = found
    assert told in warning
    assert "{text}" in warning


@pytest.mark.parametrize(
    "template",
    [
        "<text>\n{text}\n</text>",
        "Text: [{text}]",
        "[unknown] {text} costs $5, 100%, a:text@home",
        "{text} {{other things}}",
        '{{"text": {text}}}',
        '{{{text}, "x"}}',
        "{text} <gold> $gold",
        "#1 {text}",
    ],
)
async def test_signs_around_columns_that_the_template_reads_get_no_warning(template: str) -> None:
    found = await warnings_about(
        config(template, gold_field="gold"), *({"text": f"t{n}", "gold": True} for n in range(2))
    )
    assert found == ()


WORDS = [
    *("NA", "N/A", "n.a.", "-", "null", "(null)", "NaN", "NaT", "#N/A", "?", "None", "#REF!", "<NA>", " na ", "\\N"),
    "unknown",
]


@pytest.mark.parametrize("word", WORDS)
async def test_rows_with_nothing_but_a_word_for_missing_values_are_counted_with_their_lines(word: str) -> None:
    rows = [{"a": "x", "b": "y"}, {"a": word, "b": word}, {"a": word, "b": " "}, {"a": "x", "b": word}]
    [warning] = await warnings_about(config("{a} {b}"), *rows)
    assert warning.startswith(f"2 rows (lines 2, 3) have nothing but {word.strip()!r} in 'a' and 'b'")
    assert "will be labelled" in warning
    assert "leave such rows out" in warning


async def test_a_single_row_of_such_a_word_is_one_row_and_many_are_not_all_listed() -> None:
    [warning] = await warnings_about(config(), {"q": "x"}, {"q": "NA"})
    assert warning.startswith("1 row (line 2) has nothing but 'NA' in 'q'")
    found = await warnings_about(config(), {"q": "x"}, *({"q": f"{'-' * (n % 3 + 1)}"} for n in range(300)))
    assert "300 rows (lines 2, 3, 4, 5, 6 and more) have nothing but '-', '--', '---' in 'q'" in " ".join(found)


@pytest.mark.parametrize("text", ["Nana", "none of these", "n", "0", "No", "null and void", "-1"])
async def test_words_that_only_resemble_those_of_missing_values_get_no_warning(text: str) -> None:
    assert await warnings_about(config(), {"q": "x"}, {"q": text}) == ()


NOUN = "row|group|line|label|token|pair"
WRONG_NUMBER = re.compile(
    rf"\b1 (?:\w+ )?(?:{NOUN})s\b|\b(?:0|[2-9]|\d\d+) (?:{NOUN})\b|"
    r"\b1 rows? (?:\([^)]*\) )?(?:have|are|read|contain|lack|get|hold)\b"
)


@pytest.mark.parametrize("twice", [False, True])
async def test_warnings_count_one_thing_and_several_in_the_right_number(twice: bool) -> None:
    """One data set with one, or two, of everything that warnings count."""
    odd: list[dict[str, Any]] = [
        {"text": "a True\n\nb", "g": "", "h": 1, "gold": "yes"},
        {"text": "NA", "g": "x", "h": 2, "gold": None},
        {"text": "same", "g": "y", "h": 3},
        {"text": "same", "g": "y", "h": 3},
        {"text": "w " * 200, "g": "-", "h": 4},
        {"text": "one of two", "g": "-", "h": 5},
        {"text": "known", "g": "k", "h": 6, "sure": "True"},
        {"text": "by known", "g": "k", "h": 7},
    ]
    rows = [{"gold": True, "sure": None, **row} for row in odd for _ in range(1 + twice)]
    relations = [
        {"kind": "exactly_one", "group": "g"},
        {"kind": "transitive", "first": "h", "second": "h"},
        {"kind": "same_label", "group": "h"},
    ]
    task = config("{text}", relations=relations, gold_field="gold", known_field="sure")
    named = [
        {**row, "h": f"{row['h']}{n % 2}", "g": row["g"] + str(n % 2) if row["g"].isalpha() else row["g"]}
        for n, row in enumerate(rows)
    ]
    warnings = await warnings_about(task, *named)
    assert len(warnings) >= 7
    assert [found[0] for warning in warnings if (found := WRONG_NUMBER.search(warning))] == []
