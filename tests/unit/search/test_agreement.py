from service.identifiers import Label, Row
from service.search.measures.agreement import agreement, kappa, share_of_equal_labels


def labels(text: str) -> dict[Row, Label]:
    return {Row(row): Label(int(label)) for row, label in enumerate(text)}


def test_equal_labels_are_counted_row_by_row() -> None:
    assert share_of_equal_labels(labels("0011"), labels("0011")) == 1.0
    assert share_of_equal_labels(labels("0011"), labels("0110")) == 0.5
    assert share_of_equal_labels({}, labels("01")) == 0.0


def test_a_mirror_image_is_the_same_find() -> None:
    assert agreement([labels("110011")], labels("001100")) == 1.0
    assert agreement([labels("120120")], labels("012012")) == 1.0


def test_one_label_everywhere_is_another_find_than_two_labels() -> None:
    assert agreement([labels("000000")], labels("000111")) == 0.5


def test_agreement_is_the_mean_over_the_others_and_1_without_any() -> None:
    assert agreement([labels("0011"), labels("0101")], labels("0011")) == 0.75
    assert agreement([], labels("0011")) == 1.0


def test_agreement_beyond_chance_is_1_for_equal_labels_and_0_for_labels_by_lot() -> None:
    assert kappa(labels("0011"), labels("0011")) == 1.0
    assert kappa(labels("0011"), labels("0101")) == 0.0
    assert kappa(labels("0011"), labels("1100")) == -1.0
    assert kappa(labels("0001"), labels("0011")) == 0.5


def test_rows_of_one_labelling_alone_count_for_nothing() -> None:
    assert kappa(labels("0011"), labels("001100")) == 1.0
    assert kappa(labels("001100"), labels("0011")) == 1.0


def test_one_label_everywhere_leaves_nothing_beyond_chance() -> None:
    assert kappa(labels("000"), labels("000")) is None
    assert kappa(labels("000"), labels("011")) == 0.0
    assert kappa({}, labels("01")) is None
