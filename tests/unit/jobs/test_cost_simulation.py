import pytest

from api.labelling.configuration import parse_config
from service.identifiers import Label, Row
from service.jobs.submission.cost import Lengths, Prediction, predict_usage
from service.jobs.submission.sharding import plan_shards
from service.search.predictions.prompt_tree import Usage
from service.search.state.problem import Parameters, Problem
from service.search.strategies.baselines import ZeroShot
from service.search.strategies.cost_simulation import made_up_problem, simulate_search
from service.search.strategies.folds import Folds
from service.search.strategies.gain_search import GainSearch

LEAD, TAIL = 2, 3


def problem_of(
    rows: int, tokens: int = 12, *, pairs: bool = True, budget: int | None = None, known: int = 0
) -> Problem:
    groups = [row // 2 if pairs else row for row in range(rows)]
    return made_up_problem(groups, [tokens] * rows, 2, Parameters(), budget, known=list(map(Row, range(known))))


def cost_of(
    rows: int, known: int = 0, *, prompts_per_query: float = 1.0, is_sure: bool = True, **config: object
) -> Usage:
    return predicted(rows, known, prompts_per_query=prompts_per_query, is_sure=is_sure, **config).usage


def predicted(
    rows: int, known: int = 0, *, prompts_per_query: float = 1.0, is_sure: bool = True, **config: object
) -> Prediction:
    job = parse_config({"task": {"template": "{x}"}, **config})
    groups = [row // 2 for row in range(rows)]
    lengths = Lengths(
        demonstrations=[12] * rows,
        lead=LEAD,
        shared_beginnings=0.2,
        tail=TAIL,
        context=4096,
        prompts_per_query=prompts_per_query,
        is_sure=is_sure,
    )
    surely = {Row(row): Label(row % 2) for row in range(known)}
    return predict_usage(job, plan_shards(job, groups, surely), groups, lengths, surely)


def test_zero_shot_costs_every_text_once_and_what_they_begin_with_once() -> None:
    usage = simulate_search(ZeroShot(), problem_of(10), lead_tokens=LEAD, tail_tokens=TAIL).usage
    assert usage == Usage(10, 10 * 9, 9 + 9 * 7, modelled=True)


def test_a_simulation_is_the_same_every_time() -> None:
    first, again = (simulate_search(Folds(), problem_of(60), lead_tokens=LEAD, tail_tokens=TAIL) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("rows", [64, 256])
def test_a_search_costs_a_number_of_tokens_per_row_that_hardly_grows(rows: int) -> None:
    usage = simulate_search(Folds(), problem_of(rows), lead_tokens=LEAD, tail_tokens=TAIL).usage
    assert 8 < usage.tokens_computed / (12 * rows) < 30
    assert usage.tokens_sent > 10 * usage.tokens_computed


def test_without_the_exact_end_the_search_costs_much_less() -> None:
    full, light = (
        cost_of(200, search={"objective": "utility", "exact_confidence": exact}).tokens_computed
        for exact in (True, False)
    )
    assert light < 0.7 * full


@pytest.mark.parametrize("rows", [20, 200])
def test_each_further_beginning_of_a_label_costs_a_prompt_and_a_token(rows: int) -> None:
    one, three = (predicted(rows, prompts_per_query=number, search={"anchor_rows": 16}) for number in (1.0, 3.0))
    for cost, more in ((one.usage, three.usage), (one.most, three.most)):
        assert cost is not None
        assert more is not None
        assert more.prompts == 3 * cost.prompts
        assert more.tokens_computed == cost.tokens_computed + 2 * cost.prompts
        assert more.tokens_sent == 3 * cost.tokens_sent + 3 * cost.prompts  # one token more, two tokens more


def test_no_prompt_of_a_simulation_has_more_demonstrations_than_fit() -> None:
    roomy = simulate_search(Folds(), problem_of(100), lead_tokens=0, tail_tokens=TAIL).usage
    tight = simulate_search(Folds(), problem_of(100, budget=120), lead_tokens=0, tail_tokens=TAIL).usage
    assert tight.tokens_sent / tight.prompts <= 120 + 12
    assert roomy.tokens_sent / roomy.prompts > 120 + 12


def test_rows_behind_an_anchor_cost_their_own_tokens_and_little_more() -> None:
    utility = {"objective": "utility", "anchor_rows": 32}
    more = cost_of(8000, search=utility).tokens_computed - cost_of(4000, search=utility).tokens_computed
    assert 0.7 * 4000 * (12 - TAIL) <= more <= 2 * 4000 * 12


def test_rows_of_a_later_shard_are_asked_once_by_each_of_the_panel_s_first_members_and_doubtful_ones_by_all() -> None:
    panel = simulate_search(GainSearch(), problem_of(16), lead_tokens=LEAD, tail_tokens=TAIL).panel
    assert panel is not None
    asked = panel.first + 0.1 * (len(panel.members) - panel.first)
    small, large = (cost_of(rows, search={"anchor_rows": 16}) for rows in (1000, 3000))
    assert large.prompts - small.prompts == pytest.approx(2000 * asked, rel=0.01)
    assert large.tokens_computed - small.tokens_computed <= 2000 * asked * (12 - TAIL)
    assert large.tokens_sent - small.tokens_sent > 5 * (large.tokens_computed - small.tokens_computed)


def test_a_search_by_gain_costs_a_number_of_prompts_per_row_that_does_not_grow() -> None:
    counts = [
        simulate_search(GainSearch(), problem_of(n), lead_tokens=LEAD, tail_tokens=TAIL).usage.prompts
        for n in (32, 128)
    ]
    assert 8 * 32 < counts[0] < 30 * 32
    assert counts[1] < 4.2 * counts[0]


def test_known_rows_are_simulated_as_known_ones() -> None:
    problem = problem_of(24, known=8)
    assert list(problem.known) == list(map(Row, range(8)))
    assert problem.constraints.conflicts(problem.known) == []
    plain, knowing = (cost_of(24, known) for known in (0, 8))
    assert knowing.tokens_sent / knowing.prompts > plain.tokens_sent / plain.prompts  # they stand in every prompt


def test_algorithm_1_costs_many_times_as_much() -> None:
    paper, folds = (cost_of(60, search={"strategy": name}).tokens_sent for name in ("paper", "folds"))
    assert paper > 10 * folds


@pytest.mark.parametrize("method", ["zero_shot", "few_shot_random", "bootstrap"])
def test_baselines_are_simulated_too(method: str) -> None:
    usage = cost_of(600, method=method)
    assert usage.prompts >= 600
    assert 0 < usage.tokens_computed <= usage.tokens_sent


def test_simulated_rows_keep_their_groups_and_lengths() -> None:
    problem = made_up_problem([0, 1, 0], [5, 6, 7], 3, Parameters(), None)
    assert problem.groups == ((Row(0), Row(2)), (Row(1),))
    assert [problem.demonstration_tokens[row] for row in problem.rows] == [5, 6, 7]
    assert problem.classes == 3


@pytest.mark.parametrize(("rows", "labels"), [(36, 2), (24, 3)])
def test_labels_that_mean_little_to_the_language_model_are_expected_to_take_more_sweeps(rows: int, labels: int) -> None:
    task = {"template": "{x}", "labels": [f"label {number}" for number in range(labels)]}
    sure, unsure = (predicted(rows, is_sure=is_sure, task=task) for is_sure in (True, False))
    assert 1.02 * sure.usage.prompts < unsure.usage.prompts < 1.5 * sure.usage.prompts
    assert sure.most == unsure.most
    assert sure.most is not None
    assert unsure.usage.prompts < sure.most.prompts < 3 * sure.usage.prompts
    assert unsure.usage.tokens_sent < sure.most.tokens_sent
    assert unsure.usage.tokens_computed < sure.most.tokens_computed


def test_a_method_that_asks_each_row_once_costs_what_is_expected() -> None:
    found = predicted(40, is_sure=False, method="zero_shot")
    assert found.most == found.usage == predicted(40, method="zero_shot").usage


def test_a_formula_tells_no_bound() -> None:
    assert predicted(40, search={"strategy": "paper"}).most is None
