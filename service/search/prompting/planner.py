"""Builds prompt trees whose prompts share long prefixes."""

from collections.abc import Sequence
from dataclasses import replace

from service.identifiers import Row
from service.search.predictions.prompt_tree import PromptTree
from service.search.rules.consistency import Labels
from service.search.state.problem import Problem


def behind(problem: Problem, demonstrations: Sequence[Row], labels: Labels, queries: Sequence[Row]) -> PromptTree:
    """All queries behind the same demonstrations: N rows of L tokens cost N L computed tokens, plus the prefix once."""
    text = problem.prefix + problem.demonstrations(demonstrations, labels)
    return PromptTree(text, tuple(map(problem.query, queries)))


def held_out(
    problem: Problem,
    parts: Sequence[Sequence[Row]],
    labels: Labels,
    *,
    also: Sequence[Row] = (),
) -> PromptTree:
    """Queries for each part's rows given the labels of all other parts, in divide-and-conquer order.

    To score the parts of S behind a context: split S into A and B; descend into A with B
    appended to the context, and into B with A appended. For G parts of N rows of L tokens this
    costs N L (log2 G + 1) computed tokens instead of N N L. Rows of `also` are scored behind the
    labels of all parts.
    """
    root = _descend(problem, problem.prefix, list(parts), labels)
    if not also:
        return root
    inside = replace(root, text=root.text.removeprefix(problem.prefix))
    outside = PromptTree(_run(problem, parts, labels), tuple(map(problem.query, also)))
    return PromptTree(problem.prefix, (), (inside, outside))


def leave_one_out(problem: Problem, rows: Sequence[Row], labels: Labels, also: Sequence[Row] = ()) -> PromptTree:
    """Queries for each row given all other labels: the conditioning sets of eq. 1, in divide-and-conquer order."""
    return held_out(problem, [(row,) for row in rows], labels, also=also)


def chain(problem: Problem, rows: Sequence[Row], labels: Labels) -> PromptTree:
    """Queries for each row given the labels of the rows before it, by the chain rule: about N L computed tokens."""
    tree: PromptTree | None = None
    for position in reversed(range(len(rows))):
        text = problem.demonstrations(rows[position - 1 : position], labels) if position else problem.prefix
        tree = PromptTree(text, (problem.query(rows[position]),), () if tree is None else (tree,))
    return tree or PromptTree(problem.prefix)


def _descend(problem: Problem, text: str, parts: list[Sequence[Row]], labels: Labels) -> PromptTree:
    if len(parts) <= 1:
        return PromptTree(text, tuple(problem.query(row) for part in parts for row in part))
    half = len(parts) // 2
    left, right = parts[:half], parts[half:]
    return PromptTree(
        text,
        (),
        (
            _descend(problem, _run(problem, right, labels), left, labels),
            _descend(problem, _run(problem, left, labels), right, labels),
        ),
    )


def _run(problem: Problem, parts: Sequence[Sequence[Row]], labels: Labels) -> str:
    return problem.demonstrations([row for part in parts for row in part], labels)
