"""One unit of work is one transaction, ended at one place; no statement is assembled from text."""

import ast
from collections.abc import Iterator, Mapping

import pytest

EDGE = "service/storage/store.py"  # opens units of work, commits, rolls back
ENDING = {"commit", "rollback", "begin"}  # `begin` without arguments: its block ends with a commit
MIGRATING = "migrations/env.py"
STATEMENTS = {
    "text",
    "execute",
    "executemany",
    "exec_driver_sql",
    "literal_column",
    "DDL",
    "fetch",
    "fetchrow",
    "fetchval",
}


def test_transactions_end_at_the_storage_edge_only(shipped: Mapping[str, ast.Module]) -> None:
    endings = {name: transaction_endings(module) for name, module in shipped.items()}
    assert {name: lines for name, lines in endings.items() if lines and name not in {EDGE, MIGRATING}} == {}


def test_the_storage_edge_is_where_this_test_looks(shipped: Mapping[str, ast.Module]) -> None:
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
        ('literal_column(f"{column} desc")', [1]),
        ('connection.execute(text("".join(["select ", column])))', [1]),
        ('statement = f"select {column}"\nconnection.execute(text(statement))', [2]),
        ('statement = "select 1"\nstatement += condition\ntext(statement)', [3]),
        ('def find(name):\n    where: str = "name = " + name\n    return text(where)', [3]),
        ('COLUMNS = "a, b"\ntext(COLUMNS)', []),
    ],
)
def test_assembled_statements_are_distinguished_from_constant_ones(source: str, lines: list[int]) -> None:
    assert list(assembled_statements(ast.parse(source))) == lines


def transaction_endings(module: ast.Module) -> list[int]:
    return [call.lineno for call in calls(module, ENDING) if not call.args]


def assembled_statements(module: ast.Module) -> Iterator[int]:
    assembled = assembled_names(module)
    for call in calls(module, STATEMENTS):
        if not call.args:
            continue
        statement = call.args[0]
        if is_assembled_text(statement) or (isinstance(statement, ast.Name) and statement.id in assembled):
            yield call.lineno


def assembled_names(module: ast.Module) -> set[str]:
    """Names that are assigned text assembled from parts anywhere in the module."""
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and is_assembled_text(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and isinstance(node.op, ast.Add):
            names.add(node.target.id)
    return names


def is_assembled_text(value: ast.expr) -> bool:
    if isinstance(value, ast.JoinedStr):
        return True
    if isinstance(value, ast.BinOp):
        return any(isinstance(side, ast.Constant | ast.JoinedStr | ast.BinOp) for side in (value.left, value.right))
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return False
    return value.func.attr in {"format", "format_map", "join", "replace"}


def calls(module: ast.Module, names: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and called_name(node) in names:
            yield node


def called_name(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None
