import pytest

from service.config import EarlierResults
from service.jobs.checks.earlier_results import without_earlier_results
from service.jobs.checks.rows import FaultLog, RowSource
from service.result_formats import RESULT_COLUMNS
from tests.support.sources import config, faults_of, source

LABELED = {"q": "x", **dict.fromkeys(RESULT_COLUMNS, 1), "icm_raw_probability": 0.5}
PLAIN = {"q": "y"}


def rows_of(rows: RowSource) -> list[dict[str, object]]:
    faults = FaultLog(10)
    found = [dict(row.fields) for row in rows.rows(faults)]
    faults.raise_any()
    return found


@pytest.mark.parametrize(
    ("wanted", "first"),
    [
        (EarlierResults.REFUSE, LABELED),
        (EarlierResults.DROP, {"q": "x"}),
        (EarlierResults.RENAME, {name if name == "q" else f"earlier_{name}": LABELED[name] for name in LABELED}),
    ],
)
def test_columns_of_an_earlier_result_are_left_out_or_renamed_on_request(
    wanted: EarlierResults, first: dict[str, object]
) -> None:
    assert rows_of(without_earlier_results(source(LABELED, PLAIN), wanted)) == [first, PLAIN]


def test_a_column_is_not_renamed_to_one_that_is_there() -> None:
    faults = FaultLog(10)
    rows = without_earlier_results(source(PLAIN, {"icm_label": 1, "earlier_icm_label": 2}), EarlierResults.RENAME)
    assert [row.line for row in rows.rows(faults)] == [1]
    [fault] = faults.reported
    assert (fault.line, fault.field) == (2, "earlier_icm_label")


def test_a_reserved_name_is_reported_once_with_what_to_do() -> None:
    [(line, field, message)] = faults_of(
        config("{q}").task, *[{"q": number, "icm_label": "True"} for number in range(9)]
    )
    assert (line, field) == (1, "icm_label")
    assert "earlier_results" in message


def test_the_data_set_keeps_its_digest() -> None:
    plain = source(LABELED)
    assert without_earlier_results(plain, EarlierResults.DROP).sha256() == plain.sha256()
