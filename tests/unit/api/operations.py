"""Every operation of the OpenAPI document as requests, so that tests include routes added later."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from service.identifiers import new_delivery_id, new_job_id, new_training_id, new_webhook_id

OPEN = {"/health/live", "/health/ready"}
ACCEPTED = ("*/*", "application/json", "text/html", "text/event-stream")

# Unknown ids for the parameters of paths. Add a new kind of id here.
PATH_PARAMETERS: dict[str, Callable[[], str]] = {
    "job_id": new_job_id,
    "training_id": new_training_id,
    "webhook_id": new_webhook_id,
    "delivery_id": new_delivery_id,
}


def unknown_ids() -> dict[str, str]:
    """One unknown id of each kind."""
    return {name: made() for name, made in PATH_PARAMETERS.items()}


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    document: Any
    definition: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def has_id(self) -> bool:
        """Whether the path names something with an owner."""
        return "{" in self.path

    def filled(self, ids: Mapping[str, str]) -> str:
        """The path with these ids for its parameters."""
        path = self.path
        for name, value in ids.items():
            path = path.replace(f"{{{name}}}", value)
        assert "{" not in path, f"{self}: say in PATH_PARAMETERS what can stand for its parameter"
        return path

    @property
    def body(self) -> Any:
        """The example of the JSON body, if the document has one."""
        content = self.definition.get("requestBody", {}).get("content", {})
        return content.get("application/json", {}).get("example")

    def queries(self) -> Iterator[dict[str, str]]:
        """No query, and one for each value of each parameter with few values."""
        yield {}
        for parameter in self.definition.get("parameters", []):
            if parameter["in"] == "query":
                yield from ({parameter["name"]: value} for value in self._values(parameter["schema"]))

    def _values(self, schema: Any) -> Iterator[str]:
        if "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        for part in schema.get("anyOf", [schema]):
            if part is not schema or "anyOf" not in schema:
                yield from part.get("enum", ["true", "false"] if part.get("type") == "boolean" else [])
            if "$ref" in part:
                yield from self._values(part)


def operations(app: FastAPI) -> list[Operation]:
    """All operations, those without a key included."""
    document = app.openapi()
    return [
        Operation(method.upper(), path, document, definition)
        for path, methods in document["paths"].items()
        for method, definition in methods.items()
    ]
