"""Additions to FastAPI's OpenAPI document."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api.errors import PROBLEM_JSON
from api.job_config import JobConfig
from api.openapi.links import add_links
from api.schemas import Problem
from api.scopes import scope_needed

_REFERENCE = "#/components/schemas/{model}"
_CONFIG = {
    "name": "capitals",
    "model": "default",
    "task": {
        "template": "Question: {question}\nClaim: {choice}\nI think this claim is",
        "labels": ["True", "False"],
        "id_field": "id",
        "gold_field": "label",
        "relations": [{"kind": "at_most_one", "group": "question", "distinct": "choice", "label": "True"}],
    },
    "search": {"strategy": "folds", "seed": 0},
}
_EXAMPLES = [
    {"id": "1", "question": "What is the capital of France?", "choice": "Paris", "label": "True"},
    {"id": "2", "question": "What is the capital of France?", "choice": "Rome", "label": "False"},
]
_ABOUT_KEYS = "An API key, `icm_...`; not needed on a loopback address unless the operator requires keys"
_DATASET_TYPES = (
    "application/jsonl, text/csv, application/vnd.apache.parquet, "
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet, application/gzip"
)
_CONFIG_SCHEMA = {"$ref": _REFERENCE.format(model="JobConfig")}


def documented_headers(**described: str) -> dict[str, Any]:
    """Document headers that an answer always has, by name with _ for -, each with its purpose."""
    return {
        name.replace("_", "-"): {"description": text, "required": True, "schema": {"type": "string"}}
        for name, text in described.items()
    }


_RETRY_AFTER = documented_headers(Retry_After="seconds until you should repeat the request")
_HEADERS_OF = {
    401: documented_headers(WWW_Authenticate="asks for an API key"),
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
    507: _RETRY_AFTER,
}

SUBMISSION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A file with the data set and a configuration, or both in one JSON object.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["dataset", "config"],
                    "additionalProperties": False,
                    "properties": {
                        "dataset": {
                            "type": "string",
                            "format": "binary",
                            "description": "JSON lines, CSV with a header, Parquet or Excel, perhaps packed by gzip",
                        },
                        "config": _CONFIG_SCHEMA,
                    },
                },
                "encoding": {
                    "config": {"contentType": "application/json"},
                    "dataset": {"contentType": _DATASET_TYPES},
                },
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["config", "examples"],
                    "additionalProperties": False,
                    "properties": {
                        "config": _CONFIG_SCHEMA,
                        "examples": {"type": "array", "minItems": 1, "items": {"type": "object"}},
                    },
                },
                "example": {"config": _CONFIG, "examples": _EXAMPLES},
            },
        },
    }
}


def documented(body: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Document the JSON body of a request."""
    schema = {"$ref": _REFERENCE.format(model=body.__name__)}
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The possible problem documents of an endpoint; 503 implies 507, since the database's disk can be full."""
    full_disk = (507,) if 503 in statuses else ()
    return {status: _problem(status) for status in (*statuses, *full_disk, 422, 500)}


def _problem(status: int) -> dict[str, Any]:
    content = {PROBLEM_JSON: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
    answer = {"description": "A problem (RFC 9457)", "content": content}
    return {**answer, "headers": _HEADERS_OF[status]} if status in _HEADERS_OF else answer


def install_openapi(app: FastAPI, *bodies: type[BaseModel]) -> None:
    """Add the schemas that only hand-written parts of the document name, including those of `bodies`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                separate_input_output_schemas=False,
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            described: tuple[type[BaseModel], ...] = (JobConfig, Problem, *bodies)
            for body in described:
                schema = body.model_json_schema(ref_template=_REFERENCE)
                schemas.update(schema.pop("$defs", {}))
                schemas[body.__name__] = schema
            _leave_out_null(document)
            _add_scopes(document)
            add_links(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _leave_out_null(document: dict[str, Any]) -> None:
    """Remove null from the types of parameters: queries and headers have no null."""
    operations = (operation for methods in document["paths"].values() for operation in methods.values())
    for operation in operations:
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
            if len(kinds) == 1:
                schema.update(kinds[0])
            elif kinds:
                schema["anyOf"] = kinds


def _add_scopes(document: dict[str, Any]) -> None:
    """Add every operation's scope, and the refusals without it or for another host, from the enforced rules."""
    schemes = document["components"].setdefault("securitySchemes", {})
    schemes["ApiKey"] = {"type": "http", "scheme": "bearer", "description": _ABOUT_KEYS}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            operation["responses"].setdefault("421", _problem(421))
            scope = scope_needed(method.upper(), path)
            if scope is None:
                continue
            operation["security"] = [{"ApiKey": [scope.value]}]
            for status, answer in problems(401, 403, 429, 503).items():
                operation["responses"].setdefault(str(status), answer)
