"""Whatever is sent, the answer is an answer: never an error of the service's own, never a hang."""

import asyncio
import gzip
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.job_config import SearchConfig
from service.search.strategies.registry import Method, StrategyName
from tests.hostile.case import FORM, form
from tests.hostile.csv_cases import PLAIN as CSV
from tests.hostile.jsonl_cases import PLAIN as JSONL
from tests.hostile.parquet_cases import plain as parquet
from tests.long import LONG
from tests.support.running.harness import CONFIG, Service, pairs
from tests.support.stores import ScratchStore

Post = Callable[..., httpx.Response]
MANY = 200 if LONG else 40
NAMES = st.sampled_from(["a.jsonl", "a.csv", "a.jsonl.gz", "a", ""])
# A place in a file as a share of its length, how many bytes go there, and what comes in their place.
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20), st.binary(max_size=20)), min_size=1, max_size=4)


WHOLE = [name for name, field in SearchConfig.model_fields.items() if field.annotation in {int, int | None}]
BROKEN = [name for name, field in SearchConfig.model_fields.items() if field.annotation is float]
SEARCHES = st.fixed_dictionaries(
    {"strategy": st.sampled_from(list(StrategyName))},
    optional={
        **dict.fromkeys(WHOLE, st.sampled_from([-1, 0, 1, 2, 2**31, 2**62])),
        **dict.fromkeys(BROKEN, st.sampled_from([-1.0, 0.0, 5e-324, 1e-9, 1e6, 1e308])),
    },
)


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    """A client of one application, in this module's own event loop."""
    store = ScratchStore()
    service = Service(store)
    with asyncio.Runner() as runner:

        def send(path: str = "/v1/jobs", **request: Any) -> httpx.Response:
            return runner.run(service.client.post(path, **request))

        yield send
        runner.run(service.client.aclose())
        runner.run(store.close())


def edited(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for share, length, put in edits:
        start = int(share * len(content))
        content = content[:start] + put + content[start + length :]
    return content


@settings(max_examples=MANY, deadline=None)
@given(content=st.binary(max_size=300), name=NAMES)
def test_any_bytes_as_a_file(post: Post, content: bytes, name: str) -> None:
    assert post(content=form(content, name)(), headers=FORM).status_code in {202, 413, 415, 422}


@settings(max_examples=MANY, deadline=None)
@given(edits=EDITS, name=NAMES, source=st.sampled_from([JSONL, CSV, gzip.compress(JSONL), gzip.compress(CSV)]))
def test_a_healthy_file_with_any_bytes_changed(post: Post, edits: Any, name: str, source: bytes) -> None:
    assert post(content=form(edited(source, edits), name)(), headers=FORM).status_code in {202, 413, 415, 422}


@settings(max_examples=25 if LONG else 2, deadline=None)  # each starts a process
@given(edits=EDITS)
def test_a_parquet_file_with_any_bytes_changed(post: Post, edits: Any) -> None:
    answer = post(content=form(edited(parquet(), edits), "a.parquet")(), headers=FORM)
    assert answer.status_code in {202, 413, 415, 422}


@settings(max_examples=MANY, deadline=None)
@given(edits=EDITS, boundary=st.sampled_from([FORM["Content-Type"], "multipart/form-data; boundary=-"]))
def test_a_form_with_any_bytes_changed(post: Post, edits: Any, boundary: str) -> None:
    body = edited(form(JSONL, "a.jsonl")(), edits)
    assert post(content=body, headers={"Content-Type": boundary}).status_code in {202, 400, 413, 415, 422}


@settings(max_examples=MANY, deadline=None)
@given(body=st.binary(max_size=300), kind=st.sampled_from(["application/json", "text/csv", "multipart/form-data"]))
def test_any_bytes_as_a_body(post: Post, body: bytes, kind: str) -> None:
    assert post(content=body, headers={"Content-Type": kind}).status_code in {400, 415, 422}


@settings(max_examples=MANY // 2, deadline=None)
@given(text=st.text(st.characters(codec="latin-1"), max_size=40))
def test_any_text_as_a_header(post: Post, text: str) -> None:
    value = text.encode("latin-1")
    headers = {b"Content-Type": b"multipart/form-data;" + value, b"Idempotency-Key": value, b"X-Request-ID": value}
    assert post(content=b"x", headers=headers).status_code in {400, 415, 422}


@settings(max_examples=MANY // 2, deadline=None)
@given(search=SEARCHES, method=st.sampled_from(list(Method)))
def test_any_numbers_in_a_configuration(post: Post, search: dict[str, Any], method: Method) -> None:
    body = {"config": {**CONFIG, "method": method, "search": search}, "examples": pairs(12)}
    answer = post("/v1/jobs/estimate", json=body)
    assert answer.status_code in {200, 422}, answer.text
