"""Labels a data set shard by shard, as the service does: the anchor first, every later shard behind its labels."""

from dataclasses import replace

from benchmarks.local import Found, LocalScorer, search
from service.config import JobConfig, Task
from service.identifiers import Label, Row
from service.jobs.submission.sharding import plan_shards
from service.search.prompting.demonstrations import balanced_beginning
from service.search.state.problem import Problem
from service.search.state.steps import Strategy
from service.search.strategies.trained import subproblem

_CONFIG = JobConfig(task=Task(template="{text}"))
OPINIONS = _CONFIG.search.second_opinions


def label_all(problem: Problem, strategy: Strategy, scorer: LocalScorer) -> Found:
    """Search every shard of a problem; `state` is of the anchor's last search, its labels are those of all rows."""
    first, *later_shards = _shards(problem)
    anchor = subproblem(problem, first)
    found = search(anchor, strategy, scorer)
    labels: dict[Row, Label] = dict(found.state.labels)
    shown = balanced_beginning(anchor, labels, anchor.random("anchor"))
    orders = [shown, *(anchor.random("arrangement", n).sample(shown, len(shown)) for n in range(1, 1 + OPINIONS))]
    prefix, *others = (problem.demonstrations(order, labels) for order in orders)
    usage = found.usage
    for rows in later_shards:
        later = search(replace(subproblem(problem, rows), prefix=prefix, other_prefixes=others), strategy, scorer)
        labels |= later.state.labels
        usage += later.usage
    return Found(replace(found.state, labels=labels), usage)


def is_one_shard(problem: Problem) -> bool:
    """Whether all rows are searched at once, so that a labelling has an exact leave-one-out utility."""
    return len(_shards(problem)) == 1


def _shards(problem: Problem) -> list[list[Row]]:
    group_of = {row: number for number, group in enumerate(problem.groups) for row in group}
    plan = plan_shards(_CONFIG, [group_of[row] for row in problem.rows])
    shards: list[list[Row]] = [[] for _ in plan.shards]
    for row, shard in zip(problem.rows, plan.shard_of_row, strict=True):
        shards[shard].append(row)
    return shards
