"""No route can reach the data of a project other than its caller's."""

import ast
from collections.abc import Mapping

# Dependencies that may use the whole store: to narrow it to a project, to authenticate, to check readiness.
WHOLE_STORE = {"api/dependencies.py", "api/edge/access.py", "api/operations.py", "api/__main__.py"}


def test_routes_are_given_the_store_of_their_caller_only(shipped: Mapping[str, ast.Module]) -> None:
    holders = {name for name, module in shipped.items() if name.startswith("api/") and names(module, "store")}
    assert holders - WHOLE_STORE == set()
    importers = {name for name, module in shipped.items() if name.startswith("api/") and imports(module, "Store")}
    assert importers == {"api/dependencies.py"}


def test_only_the_narrowed_store_opens_a_unit_for_a_caller(shipped: Mapping[str, ast.Module]) -> None:
    openers = {
        name
        for name, module in shipped.items()
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "project_unit"
        and node.args
    }
    assert openers == {"service/access/caller_store.py"}


def names(module: ast.Module, attribute: str) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr == attribute for node in ast.walk(module))


def imports(module: ast.Module, name: str) -> bool:
    found = (
        node for node in ast.walk(module) if isinstance(node, ast.ImportFrom) and node.module == "service.ports.store"
    )
    return any(alias.name == name for node in found for alias in node.names)
