"""Answers have a type, never run in a browser, are harmless in a spreadsheet and have a safe file name."""

import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from email.message import Message
from typing import Any
from urllib.parse import unquote

import httpx
import orjson
import pyarrow.parquet as pq
import pytest

from api.errors import INTERNAL, problem
from api.labelling.results import content_disposition
from service.errors import Fault
from tests.hostile.case import FORM, form
from tests.hostile.jsonl_cases import CHARMS
from tests.support.running.harness import Service, pairs
from tests.support.stores import ScratchStore

NOTHING = "default-src 'none'; frame-ancestors 'none'"
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "=cmd|' /C calc'!A0"]
HARMLESS = ["a=1", " =1", "'=1", "1-1", "", "\u2212 5"]
NAMES = [
    *CHARMS,
    'a"b',
    "a\r\nSet-Cookie: x=1",
    "a\\b",
    "CON",
    "nul",
    "..",
    "...",
    "x" * 200,
    "\U0001f600" * 50,
    "a;b=c",
]


class Forgetful(ScratchStore):
    """A store whose failure nobody has foreseen."""

    async def ping(self) -> None:
        raise ZeroDivisionError


async def answers(service: Service) -> list[httpx.Response]:
    """One of every kind, bad ones included."""
    job = await service.labelled()
    get, post = service.client.get, service.client.post
    links = [await get(job["links"][name]) for name in ("self", "labels", "result", "report", "events")]
    forms = [await get(job["links"]["result"], params={"format": form}) for form in ("csv", "parquet")]
    plain = [await get(path) for path in ("/v1/jobs", "/v1/models", "/health/live", "/metrics", "/openapi.json")]
    unchanged = await get(job["links"]["self"], headers={"If-None-Match": links[0].headers["ETag"]})
    bad = [
        await get("/nowhere"),
        await get("/v1/jobs/job_0"),
        await service.client.put("/v1/jobs"),
        await get("/v1/jobs?cursor=x"),
        await post("/v1/jobs", content=b"x"),
        await post("/v1/jobs", content=form(b"", "a")(), headers=FORM),
        await post(job["links"]["cancel"]),
        await post("/v1/jobs", content=b"", headers={"Content-Length": "9" * 5_000}),
        await get("/health/ready"),
    ]
    return [*links, *forms, *plain, unchanged, *bad, await service.client.delete(job["links"]["self"])]


async def test_every_answer_is_typed_and_lets_a_browser_run_nothing() -> None:
    service = Service(Forgetful())
    async with service.client:
        found = await answers(service)
    assert {answer.status_code for answer in found} == {200, 204, 304, 400, 404, 405, 409, 413, 415, 422, 500}
    for answer in found:
        assert answer.headers["X-Content-Type-Options"] == "nosniff", answer.url
        assert answer.headers["Content-Security-Policy"] == NOTHING, answer.url
        assert answer.headers["Referrer-Policy"] == "no-referrer", answer.url
        assert not answer.content or "Content-Type" in answer.headers, answer.url


async def test_a_download_has_the_jobs_name_as_a_name_only(service: Service) -> None:
    name = 'a\r\nSet-Cookie: x=1\\"\U0001f600'
    job = await service.labelled(name=name)
    answer = await service.client.get(job["links"]["result"], params={"format": "csv"})
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"] == content_disposition(f"{name}.csv")


def test_the_name_of_a_download_is_a_name_only() -> None:
    for name in NAMES:
        header = Message()
        header["Content-Disposition"] = content_disposition(f"{name}.csv")
        assert header.get_content_disposition() == "attachment"
        check_filename(unquote(header["Content-Disposition"].partition("filename*=UTF-8''")[2]))


def check_filename(name: str) -> None:
    assert name.endswith(".csv")
    assert name.isprintable()
    assert not set(name) & set('/\\:*?"<>|')
    assert not name.startswith(".")
    assert name.partition(".")[0].upper() not in {"CON", "NUL"}
    assert len(name) <= 124


@pytest.mark.parametrize("name", ["con", "PRN.x", "COM1 ", "lpt9"])
def test_names_of_devices_are_distinguished_from_files(name: str) -> None:
    assert f'filename="_{name}' in content_disposition(f"{name}.csv")


Download = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture(scope="module")
async def download() -> AsyncIterator[Download]:
    """The result of a labelled data set that has formulas, in any format."""
    texts = [*FORMULAS, *HARMLESS]
    rows = [{**row, "=column": text, "number": -n} for n, (row, text) in enumerate(zip(pairs(15), texts, strict=True))]
    service = Service(ScratchStore())
    async with service.client:
        link = (await service.labelled(rows))["links"]["result"]

        async def download(**parameters: Any) -> httpx.Response:
            return await service.client.get(link, params=parameters)

        yield download


def records_of(answer: httpx.Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.reader(io.StringIO(answer.text, newline="")))


async def test_csv_is_as_it_was_sent_unless_a_spreadsheet_is_to_open_it(download: Download) -> None:
    header, *records = records_of(await download(format="csv"))
    assert [record[header.index("=column")] for record in records] == [*FORMULAS, *HARMLESS]


async def test_a_spreadsheet_is_given_no_formula_and_its_numbers_as_numbers(download: Download) -> None:
    header, *records = records_of(await download(format="csv", formula_safe=True))
    assert "'=column" in header
    texts = [record[header.index("'=column")] for record in records]
    assert texts == [*(f"'{text}" for text in FORMULAS), *HARMLESS]
    assert [record[header.index("number")] for record in records] == [str(-n) for n in range(15)]


async def test_safe_and_plain_csv_have_tags_of_their_own_and_every_safe_cell_is_quoted(download: Download) -> None:
    plain, safe = await download(format="csv"), await download(format="csv", formula_safe=True)
    assert plain.headers["ETag"] != safe.headers["ETag"]
    assert safe.text.startswith('"gold","a","id","b","\'=column","number","icm_label"')


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
async def test_formula_safe_is_refused_for_other_formats(download: Download, form: str) -> None:
    answer = await download(format=form, formula_safe=True)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "formula_safe")
    whole = (await download(format=form)).content
    rows = pq.read_table(io.BytesIO(whole)).to_pylist() if form == "parquet" else map(orjson.loads, whole.splitlines())
    assert [row["=column"] for row in rows] == [*FORMULAS, *HARMLESS]


async def test_a_problem_quotes_a_bounded_part_of_a_value(service: Service) -> None:
    rows = [{"id": str(n), "x" * 60_000: 1} for n in range(100)]
    answer = await service.client.post("/v1/jobs", json={"config": {"task": {"template": "{a}"}}, "examples": rows})
    assert answer.status_code == 422
    assert len(answer.content) < 20_000
    assert len((await service.client.get("/v1/jobs/" + "x" * 60_000)).content) < 5_000


def test_a_problem_can_quote_halves_of_characters() -> None:
    answer = problem("request", INTERNAL, "\udcff", faults=[Fault("\ud800", line=1, field="a\udfff")])
    assert orjson.loads(answer.body)["errors"] == [{"line": 1, "field": "a?", "message": "?"}]
