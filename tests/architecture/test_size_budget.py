"""House limits on size: small functions, files that fit in the head (CONTRIBUTING.md)."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

LONGEST_FUNCTION = 50  # lines without docstrings; nested functions count inside their parent
USUAL_FUNCTION = 25  # lines that at least this share of all functions keep within:
USUAL_SHARE = 0.9
LONGEST_FILE = 400  # lines, everything counted

Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_no_function_of_the_product_is_over_50_lines(shipped: Mapping[str, ast.Module]) -> None:
    assert too_long(shipped) == []


def test_no_function_of_the_tests_is_over_50_lines(tests: Mapping[str, ast.Module]) -> None:
    assert too_long(tests) == []


def test_nine_functions_in_ten_of_the_product_have_25_lines_at_most(shipped: Mapping[str, ast.Module]) -> None:
    assert share_within(shipped, USUAL_FUNCTION) >= USUAL_SHARE


def test_nine_functions_in_ten_of_the_tests_have_25_lines_at_most(tests: Mapping[str, ast.Module]) -> None:
    assert share_within(tests, USUAL_FUNCTION) >= USUAL_SHARE


def test_no_file_is_over_400_lines(
    root: Path, shipped: Mapping[str, ast.Module], tests: Mapping[str, ast.Module]
) -> None:
    lengths = {name: len((root / name).read_text("utf-8").splitlines()) for name in (*shipped, *tests)}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


@pytest.mark.parametrize(
    ("source", "lengths"),
    [
        ("def f():\n    return 1\n", [2]),
        ('def f():\n    """One\n\n    two."""\n    return 1\n', [2]),
        ("@decorated\nasync def f(\n    a,\n):\n    return 1\n", [4]),
        ('def f():\n    def g():\n        """Inner."""\n        return 1\n    return g\n', [4]),
        ("class A:\n    def f(self):\n        return 1\n\n    def g(self):\n        return 1\n", [2, 2]),
    ],
)
def test_lines_are_counted_without_docstrings_and_with_nested_functions(source: str, lengths: list[int]) -> None:
    assert [lines_of(function) for function in outer_functions(ast.parse(source))] == lengths


def too_long(modules: Mapping[str, ast.Module]) -> list[str]:
    return [
        f"{name}:{function.lineno} {function.name}: {lines} lines"
        for name, module in modules.items()
        for function in outer_functions(module)
        if (lines := lines_of(function)) > LONGEST_FUNCTION
    ]


def share_within(modules: Mapping[str, ast.Module], limit: int) -> float:
    lengths = [lines_of(function) for module in modules.values() for function in outer_functions(module)]
    return sum(length <= limit for length in lengths) / max(1, len(lengths))


def outer_functions(node: ast.AST) -> Iterator[Function]:
    """Functions and methods, those inside another function left out."""
    for child in statements(node):
        if isinstance(child, Function):
            yield child
        else:
            yield from outer_functions(child)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """What a node holds besides expressions, which hold no function with a name: most nodes are expressions."""
    return (child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr))


def lines_of(function: Function) -> int:
    """Lines from `def` to the end, less every docstring inside."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1 - docstring_lines(function)


def docstring_lines(node: ast.AST) -> int:
    """Lines of the docstrings of a node and of all definitions inside."""
    inside = sum(map(docstring_lines, statements(node)))
    if not isinstance(node, Function | ast.ClassDef) or ast.get_docstring(node) is None:
        return inside
    text = node.body[0]
    assert text.end_lineno is not None
    return inside + text.end_lineno - text.lineno + 1
