"""One unit of work is one transaction, ended at one place; no statement is assembled from text."""

import ast
from collections.abc import Iterator, Mapping

import pytest

EDGE = "service/storage/store.py"  # opens units of work, commits, rolls back
ENDING = {"commit", "rollback", "begin"}  # `begin` without arguments: its block ends with a commit
MIGRATING = "migrations/env.py"
STATEMENTS = {"text", "execute", "exec_driver_sql"}


def test_transactions_end_at_the_storage_edge_only(shipped: Mapping[str, ast.Module]) -> None:
    endings = {name: transaction_endings(module) for name, module in shipped.items()}
    assert {name: lines for name, lines in endings.items() if lines and name not in {EDGE, MIGRATING}} == {}


def test_the_edge_is_where_this_test_looks(shipped: Mapping[str, ast.Module]) -> None:
    assert transaction_endings(shipped[EDGE]) != []


def test_no_sql_text_is_assembled_at_run_time(shipped: Mapping[str, ast.Module]) -> None:
    assert [f"{name}:{line}" for name, module in shipped.items() for line in assembled_statements(module)] == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('text("select 1")', []),
        ("text(STATEMENT)", []),
        ('text("select 1 " "from jobs")', []),
        ('text(f"select {column}")', [1]),
        ('sqlalchemy.text("select " + column)', [1]),
        ('connection.exec_driver_sql("select %s" % column)', [1]),
        ('op.execute("drop table {}".format(table))', [1]),
    ],
)
def test_assembled_statements_are_told_from_constant_ones(source: str, lines: list[int]) -> None:
    assert list(assembled_statements(ast.parse(source))) == lines


def transaction_endings(module: ast.Module) -> list[int]:
    return [call.lineno for call in calls(module, ENDING) if not call.args]


def assembled_statements(module: ast.Module) -> Iterator[int]:
    for call in calls(module, STATEMENTS):
        if call.args and is_assembled_text(call.args[0]):
            yield call.lineno


def is_assembled_text(value: ast.expr) -> bool:
    if isinstance(value, ast.JoinedStr):
        return True
    if isinstance(value, ast.BinOp):
        return any(isinstance(side, ast.Constant | ast.JoinedStr | ast.BinOp) for side in (value.left, value.right))
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "format"


def calls(module: ast.Module, names: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and called_name(node) in names:
            yield node


def called_name(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None
