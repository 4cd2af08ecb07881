"""OpenAPI links: which answer has the id or the cursor that another request needs (OpenAPI 3.1 §4.8.20).

The shape of paths alone determines them, so later routes get links automatically.
"""

import re
from collections.abc import Iterator
from typing import Any

_OF_ONE = re.compile(r"(?P<all>/[^{}]*)/\{(?P<name>\w+)\}(?P<rest>(?:/[^{}]*)?)")
_MAKES = "post"


def add_links(document: dict[str, Any]) -> None:
    """Link every answer with an id or a cursor to the operations that take it."""
    paths = document["paths"]
    for path, operations in paths.items():
        one = _OF_ONE.fullmatch(path)
        maker = None if one is None else paths.get(one["all"], {}).get(_MAKES)
        if one is not None and maker is not None:
            for answer in _successes(maker):
                _link(answer, operations.values(), {one["name"]: "$response.body#/id"})
        for operation in operations.values():
            if "cursor" in _queries(operation):
                for answer in _successes(operation):
                    _link(answer, [operation], _next_page(operation))


def _successes(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for status, answer in operation["responses"].items():
        if status.startswith("2") and "application/json" in answer.get("content", {}):
            yield answer


def _link(answer: dict[str, Any], operations: Any, parameters: dict[str, str]) -> None:
    links = answer.setdefault("links", {})
    for operation in operations:
        links[operation["operationId"]] = {"operationId": operation["operationId"], "parameters": parameters}


def _next_page(operation: dict[str, Any]) -> dict[str, str]:
    """A link to the next page. It cannot repeat optional parameters of the request, which may be absent."""
    kept = {
        parameter["name"]: f"$request.path.{parameter['name']}"
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "path"
    }
    return {**kept, "cursor": "$response.body#/next_cursor"}


def _queries(operation: dict[str, Any]) -> set[str]:
    return {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "query"}
