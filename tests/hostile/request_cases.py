"""Odd and broken JSON bodies, configurations, forms and file names."""

from collections.abc import Mapping
from typing import Any

import orjson

from tests.hostile.case import BOUNDARY, CONFIG, FORM, JSON, TASK, Case, Rows, form
from tests.hostile.jsonl_cases import CHARMS, INJECTION, A, B
from tests.hostile.jsonl_cases import PLAIN as JSONL

GOOD: Rows = [dict(A), dict(B)]
DATASET = b'Content-Disposition: form-data; name="dataset"; filename="a.jsonl"'
CONFIG_PART = b'Content-Disposition: form-data; name="config"\r\n\r\n' + orjson.dumps(CONFIG)


def inline(name: str, body: bytes, told: str, *, status: int = 422, **place: Any) -> Case:
    """An unusable JSON body."""
    return Case(name=f"inline-{name}", body=lambda: body, headers=JSON, status=status, told=told, **place)


def examples(written: bytes) -> bytes:
    """A JSON body with these examples."""
    return b'{"config":' + orjson.dumps(CONFIG) + b',"examples":' + written + b"}"


def inline_cases() -> list[Case]:
    """All cases of one JSON body."""
    charmed = [{"id": charm, "text": charm, charm: charm} for charm in CHARMS]
    good = {"plain": GOOD, "charms": charmed, "prompt-injection": [{"id": "1", "text": INJECTION}]}
    return [
        *(
            Case(
                name=f"inline-{name}",
                body=lambda rows=rows: examples(orjson.dumps(rows)),  # type: ignore[misc]  # mypy wants no defaults here
                headers=JSON,
                status=202,
                rows=rows,
            )
            for name, rows in good.items()
        ),
        *_broken_bodies(),
        *_broken_examples(),
    ]


def _broken_bodies() -> list[Case]:
    whole = examples(orjson.dumps(GOOD))
    return [
        inline("empty", b"", "not valid JSON", field="body"),
        inline("cut", whole[:-3], "not valid JSON", field="body"),
        inline("byte-order-mark", b"\xef\xbb\xbf" + whole, "not valid JSON", field="body"),
        inline("utf-16", whole.decode().encode("utf-16"), "not valid UTF-8", field="body"),
        inline("not-utf-8", whole + b"\xff", "UTF-8", field="body"),
        inline("a-list", b"[]", "must be an object"),
        inline("a-number", b"1" * 5_000, "infinity", field="body"),
        inline("depth-100000", b"[" * 100_000, "not valid JSON", field="body"),
        inline("depth-900", b'{"a":' * 900 + b"1" + b"}" * 900, "inside each other", field="body"),
        inline("no-config", b'{"examples":[]}', "config", field="config"),
        inline("no-examples", b'{"config":{}}', "list of objects", field="examples"),
        inline("more-fields", whole[:-1] + b',"__proto__":{}}', "no such field", field="__proto__"),
        inline("config-twice", whole[:-1] + b',"config":{}}', "more than once", field="body"),
        inline("values-by-the-million", examples(b"[" + b"{}," * 1_000_000 + b"{}]"), "values", status=413),
        inline("11-megabytes", examples(b'["' + b"x" * 11_000_000 + b'"]'), "10000000 bytes", status=413),
    ]


def _broken_examples() -> list[Case]:
    return [
        inline("no-rows", examples(b"[]"), "no rows"),
        inline("an-object", examples(b'{"0":{}}'), "list of objects", field="examples"),
        inline("scalar-row", examples(b'[{"id":"1","text":"t"},5]'), "not a JSON object", line=2),
        inline("nan", examples(b'[{"id":"1","text":NaN}]'), "is NaN", line=1, field="text"),
        inline(
            "infinity",
            examples(b'[{"id":"1","text":"t"},{"id":[-Infinity],"text":"t"}]'),
            "is -Inf",
            line=2,
            field="id",
        ),
        inline("1e999", examples(b'[{"id":"1","text":1e999}]'), "infinity", field="body"),
        inline("nul", examples(b'[{"id":"1","text":"\\u0000"}]'), "NUL", field="body"),
        inline("half-a-surrogate", examples(b'[{"id":"1","text":"\\udfff"}]'), "surrogate", field="body"),
        inline("integer-of-30-digits", examples(b'[{"id":"1","text":%s}]' % (b"7" * 30)), "64 bits", field="body"),
        inline("key-twice", examples(b'[{"id":"1","text":"a","text":"b"}]'), "more than once", field="body"),
        inline("id-twice", examples(orjson.dumps([A, B, A])), "used before", line=3, field="id"),
        inline("column-missing", examples(b'[{"id":"1"}]'), "no row has the field", field="text"),
        inline("long-row", examples(orjson.dumps([A, {"id": "2", "text": "x" * 64_000}])), "64000 bytes", line=2),
        inline("column-without-a-name", examples(b'[{"id":"1","text":"t"," ":1}]'), "cannot be the name", line=1),
    ]


def config(name: str, told: str, field: str | None, /, raw: bytes | None = None, **changes: Any) -> Case:
    """An unusable configuration."""
    written = orjson.dumps({**CONFIG, **changes}) if raw is None else raw
    return Case(name=f"config-{name}", body=form(JSONL, "a.jsonl", written), headers=FORM, told=told, field=field)


def task(name: str, told: str, field: str | None, /, **changes: Any) -> Case:
    """An unusable task."""
    return config(name, told, field, task={**TASK, **changes})


def config_cases() -> list[Case]:
    """Unusable configurations beside a healthy data set."""
    templates = ("{text", "}", "{}", "{ }", "{text:{text}}")
    attributes = (
        "{text!r}",
        "{text:>100000000}",
        "{text.__class__.__mro__}",
        "{0.__init__.__globals__}",
        "{text[0]}",
        "{__class__}",
    )
    return [
        *(task(f"template-{n}", "emplate", "task.template", template=t) for n, t in enumerate(templates)),
        *(task(f"attribute-{n}", "no row has", t.strip("{}"), template=t) for n, t in enumerate(attributes)),
        task("template-too-long", "20000", "task.template", template="x" * 20_001),
        task("label-nul", "NUL", "config", labels=["True", "a\0b"]),
        task("label-blank", "empty", "task.labels", labels=["True", " "]),
        task("labels-alike", "case", "task.labels", labels=["True", "TRUE"]),
        task("labels-by-the-thousand", "64", "task.labels", labels=[str(n) for n in range(1_000)]),
        task("separator-empty", "at least 1", "task.separator", separator=""),
        task("id-field-missing", "no row has", "nowhere", id_field="nowhere"),
        task("gold-in-the-template", "gold_field", "task", gold_field="text"),
        task("known-in-the-template", "known_field", "task", known_field="text"),
        task("shares-of-no-label", "name labels as they are written", "task", shares={"true": 0.5}),
        task("shares-beyond-1", "at most 1", "task.shares.True", shares={"True": 2}),
        task("shares-too-large-together", "leave room", "task", shares={"True": 0.6, "False": 0.6}),
        task("known-as-gold", "known_field and gold_field must differ", "task", known_field="g", gold_field="g"),
        task("relation-of-no-kind", "kind", "task.relations.0", relations=[{"kind": "eval"}]),
        config("no-json", "not valid JSON", "config", raw=b"{"),
        config("not-utf-8", "UTF-8", "config", raw=b'{"name":"\xff"}'),
        config("a-list", "must be an object", None, raw=b"[]"),
        config("nan", "NaN", "config", raw=b'{"task":{"template":"{text}"},"limits":{"max_seconds":NaN}}'),
        config("long-seed", "64 bits", "config", raw=b'{"search":{"seed":%s}}' % (b"7" * 30)),
        config("deep", "inside each other", "config", raw=b'{"a":' * 500 + b"1" + b"}" * 500),
        config("key-twice", "more than once", "config", raw=b'{"name":"a","name":"b"}'),
        config("unknown-field", "there is no field", "__class__", __class__=1),
        config("name-too-long", "200", "name", name="x" * 201),
        config("unknown-model", "there is no model", "model", model="http://169.254.169.254/latest/meta-data"),
    ]


def raw_form(name: str, told: str, *parts: bytes, status: int = 422, field: str | None = None, **headers: str) -> Case:
    """A form of these parts."""
    mark = f"--{BOUNDARY}\r\n".encode()
    body = b"".join(mark + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()
    return Case(
        name=f"form-{name}", body=lambda: body, headers={**FORM, **headers}, status=status, told=told, field=field
    )


def form_cases() -> list[Case]:
    """Broken forms, and forms that are too large."""
    dataset = DATASET + b"\r\n\r\n" + JSONL
    charsets = ("undefined", "punycode", "utf-16")
    kind = "multipart/form-data; boundary=" + BOUNDARY
    return [
        *(
            raw_form(f"charset-{name}", "charset", dataset, status=415, **{"Content-Type": f"{kind}; charset={name}"})
            for name in charsets
        ),
        raw_form("no-boundary", "boundary", dataset, status=400, **{"Content-Type": "multipart/form-data"}),
        raw_form("boundary-of-300", "", dataset, status=400, **{"Content-Type": kind[:30] + "b" * 300}),
        raw_form("three-files", "Too many files", *[dataset] * 3, status=400),
        raw_form("three-fields", "Too many fields", dataset, *[CONFIG_PART] * 3, status=400),
        raw_form("header-of-10000-bytes", "", DATASET + b"\r\nX: " + b"x" * 10_000 + b"\r\n\r\n", status=400),
        raw_form("20-headers", "", DATASET + b"\r\nX: y" * 20 + b"\r\n\r\n", status=400),
        raw_form("part-without-name", "name", b"Content-Disposition: form-data\r\n\r\nx", status=400),
        raw_form("part-without-headers", "", b"\r\nx", status=400),
        raw_form("no-data-set", "file part", CONFIG_PART, field="dataset"),
        raw_form("no-config", "config", dataset, field="config"),
        raw_form(
            "data-set-as-text", "file part", b'Content-Disposition: form-data; name="dataset"\r\n\r\nx', field="dataset"
        ),
        raw_form("config-of-2-megabytes", "", dataset, CONFIG_PART + b" " * 2_000_000, status=400),
        raw_form("packed-request", "Content-Encoding", dataset, status=415, **{"Content-Encoding": "gzip"}),
        raw_form("another-type", "is not read", dataset, status=415, **{"Content-Type": "text/plain"}),
        Case(name="form-cut", body=lambda: form(JSONL, "a.jsonl")()[:-60], headers=FORM, status=422, field="config"),
    ]


def name_cases() -> list[Case]:
    """File names: none opens a file elsewhere, and only the suffix tells the format."""
    names: Mapping[str, str | bytes] = {
        "upwards": "../../x.jsonl",
        "from-the-root": "/etc/passwd.jsonl",
        "300-characters": "x" * 300 + ".jsonl",
        "nul": b"x\0y.jsonl",
        "not-utf-8": b"\xff\xfe.jsonl",
        "no-format": "passwd",
        "empty": "",
    }
    return [
        Case(name=f"name-{name}", body=form(JSONL, written), headers=FORM, status=202, rows=GOOD)
        for name, written in names.items()
    ]
