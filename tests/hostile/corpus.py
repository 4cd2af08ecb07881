"""All odd, broken and hostile requests with their outcomes."""

from tests.hostile.case import Case
from tests.hostile.csv_cases import csv_cases
from tests.hostile.jsonl_cases import jsonl_cases
from tests.hostile.parquet_cases import parquet_cases
from tests.hostile.request_cases import config_cases, form_cases, inline_cases, name_cases

CORPUS: tuple[Case, ...] = (
    *jsonl_cases(),
    *csv_cases(),
    *parquet_cases(),
    *inline_cases(),
    *config_cases(),
    *form_cases(),
    *name_cases(),
)
