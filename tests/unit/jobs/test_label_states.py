import math

from service.identifiers import Label, Row
from service.jobs.running.run import label_states
from service.records.labels import LabelStatus

EVEN = (math.log(0.5), math.log(0.5))
SURE = (math.log(0.9), math.log(0.1))


def test_confidence_is_of_the_calibrated_scores_and_the_raw_probability_of_the_others() -> None:
    [state] = label_states([Row(0)], {Row(0): Label(0)}, {Row(0): SURE}, {Row(0): EVEN})
    assert state.confidence == math.exp(math.log(0.9))
    assert state.raw_probability == 0.5
    assert state.status is LabelStatus.LABELED


def test_an_unknown_probability_is_none() -> None:
    rows, labels = [Row(0), Row(1), Row(2)], {Row(0): Label(0), Row(1): Label(1)}
    first, second, third = label_states(rows, labels, {Row(0): SURE}, {Row(1): EVEN, Row(2): EVEN})
    assert (first.confidence is not None, first.raw_probability) == (True, None)
    assert (second.confidence, second.raw_probability, second.status) == (None, 0.5, LabelStatus.UNCERTAIN)
    assert (third.label, third.confidence, third.raw_probability) == (None, None, None)
