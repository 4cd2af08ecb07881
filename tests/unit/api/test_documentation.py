import re
from typing import Any

import jsonschema
import pytest

from tests.support.running.harness import CONFIG, Service, pairs

ROUTES = {
    ("POST", "/v1/score"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("POST", "/v1/jobs/estimate"),
    ("GET", "/v1/jobs/{job_id}"),
    ("DELETE", "/v1/jobs/{job_id}"),
    ("POST", "/v1/jobs/{job_id}/pause"),
    ("POST", "/v1/jobs/{job_id}/resume"),
    ("POST", "/v1/jobs/{job_id}/cancel"),
    ("GET", "/v1/jobs/{job_id}/labels"),
    ("GET", "/v1/jobs/{job_id}/result"),
    ("GET", "/v1/jobs/{job_id}/report"),
    ("GET", "/v1/jobs/{job_id}/events"),
    ("POST", "/v1/trainings"),
    ("POST", "/v1/trainings/estimate"),
    ("GET", "/v1/trainings"),
    ("GET", "/v1/trainings/{training_id}"),
    ("DELETE", "/v1/trainings/{training_id}"),
    ("POST", "/v1/trainings/{training_id}/pause"),
    ("POST", "/v1/trainings/{training_id}/resume"),
    ("POST", "/v1/trainings/{training_id}/cancel"),
    ("GET", "/v1/trainings/{training_id}/report"),
    ("GET", "/v1/trainings/{training_id}/adapter"),
    ("GET", "/v1/trainings/{training_id}/events"),
    ("POST", "/v1/webhooks"),
    ("GET", "/v1/webhooks"),
    ("GET", "/v1/webhooks/{webhook_id}"),
    ("PATCH", "/v1/webhooks/{webhook_id}"),
    ("DELETE", "/v1/webhooks/{webhook_id}"),
    ("POST", "/v1/webhooks/{webhook_id}/rotate"),
    ("POST", "/v1/webhooks/{webhook_id}/test"),
    ("GET", "/v1/webhooks/{webhook_id}/deliveries"),
    ("POST", "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/resend"),
    ("GET", "/v1/models"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
}


@pytest.fixture(scope="module")
def service(shared_service: Service) -> Service:
    """One service for all tests of this module, which do not disturb one another."""
    return shared_service


@pytest.fixture(scope="module")
async def document(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = (await service.client.get("/openapi.json")).json()
    return found


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": document["components"]}


async def test_every_call_of_the_contract_is_documented(document: dict[str, Any]) -> None:
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == ROUTES


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(inner) for inner in value.values()))
    return set().union(*(references(inner) for inner in value)) if isinstance(value, list) else set()


async def test_every_reference_leads_to_a_schema(document: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known


async def test_the_example_of_a_submission_fits_its_schema_and_is_taken(
    service: Service, document: dict[str, Any]
) -> None:
    body = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    jsonschema.validate(body["example"], resolved(document, body["schema"]))
    answer = await service.client.post("/v1/jobs", json=body["example"])
    assert answer.status_code == 202


async def test_answers_fit_their_schemas(
    service: Service, finished_job: dict[str, Any], document: dict[str, Any]
) -> None:
    for path in ("", "/labels", "/report"):
        operation = document["paths"]["/v1/jobs/{job_id}" + path]["get"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(await service.get(finished_job["id"], path), resolved(document, schema))


async def test_every_field_of_a_model_is_explained(service: Service, document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["ModelBody"]
    [model] = (await service.client.get("/v1/models")).json()["data"]
    jsonschema.validate(model, resolved(document, schema))
    assert model.keys() == schema["properties"].keys()
    explained = {name for name, field in schema["properties"].items() if "description" in field}
    assert schema["properties"].keys() - explained == {"object", "server_version"}


async def test_problems_fit_their_schema(service: Service, document: dict[str, Any]) -> None:
    answer = await service.client.post("/v1/jobs", json={"config": CONFIG, "examples": [*pairs(2), 3]})
    schema = document["components"]["schemas"]["Problem"]
    jsonschema.validate(answer.json(), resolved(document, schema))


async def test_people_get_a_page_with_the_documentation(service: Service) -> None:
    answer = await service.client.get("/docs")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    files = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
    assert {"docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "docs/start.js", "openapi.json"} <= set(files)
    for file in files:
        assert "//" not in file  # nothing is loaded from elsewhere
        found = await service.client.get(f"/{file}")
        assert (found.status_code, bool(found.content)) == (200, True), file


async def test_the_page_runs_scripts_of_this_service_alone_and_none_within_itself(service: Service) -> None:
    for path in ("/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"):
        answer = await service.client.get(path)
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = (await service.client.get("/docs")).text
    assert re.findall(r"<script>|<style|style=|\son[a-z]+=|javascript:", page) == []
    assert (await service.client.get("/redoc")).status_code == 404


async def test_an_answer_that_names_a_job_is_linked_to_all_that_can_be_done_with_it(document: dict[str, Any]) -> None:
    links = document["paths"]["/v1/jobs"]["post"]["responses"]["202"]["links"].values()
    linked = {link["operationId"] for link in links}
    of_one_job = [methods for path, methods in document["paths"].items() if "{job_id}" in path]
    assert linked == {operation["operationId"] for methods in of_one_job for operation in methods.values()}
    assert all(link["parameters"] == {"job_id": "$response.body#/id"} for link in links)


async def test_a_page_is_linked_to_the_next_one_of_the_same_list(document: dict[str, Any]) -> None:
    labels = document["paths"]["/v1/jobs/{job_id}/labels"]["get"]
    link = labels["responses"]["200"]["links"][labels["operationId"]]
    assert link["parameters"] == {"job_id": "$request.path.job_id", "cursor": "$response.body#/next_cursor"}


async def test_no_parameter_can_be_null(document: dict[str, Any]) -> None:
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    schemas = [parameter["schema"] for operation in operations for parameter in operation.get("parameters", [])]
    assert {"type": "null"} not in [kind for schema in schemas for kind in schema.get("anyOf", [])]
