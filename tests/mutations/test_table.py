import ast
from pathlib import Path

import pytest

from tests.mutations.mutation import Mutation
from tests.mutations.table import MUTATIONS

ROOT = Path(__file__).parents[2]


def adapted(mutation: Mutation) -> bool:
    """Whether the mutation's text occurs in the code, and its replacement changes the syntax tree."""
    source = (ROOT / mutation.file).read_text("utf-8")
    try:
        return ast.dump(ast.parse(mutation.applied(source))) != ast.dump(ast.parse(source))
    except ValueError:
        return False


def test_every_mutation_changes_the_code_as_it_is_today() -> None:
    assert [mutation.name for mutation in MUTATIONS if not adapted(mutation)] == []


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_tests_that_must_notice_them_exist() -> None:
    named = {test.partition("::")[::2] for mutation in MUTATIONS for test in mutation.tests}
    known = {file: names_in(file) for file, _ in named}
    assert [
        (file, name)
        for file, name in named
        if not (name in known[file] if name else any(found.startswith("test_") for found in known[file]))
    ] == []


@pytest.mark.parametrize("source", ["", "a = 1\na = 1\n"], ids=["gone", "twice"])
def test_a_text_that_is_not_there_once_is_an_error(source: str) -> None:
    mutation = Mutation("a", "b.py", "a = 1", "a = 2", ())
    with pytest.raises(ValueError, match="adapt the row"):
        mutation.applied(source)


def test_every_mutation_has_a_name_of_its_own() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
