import json
from pathlib import Path

import pytest

from benchmarks.real.scorer import Loaded
from inference.settings import SMALL_MODEL


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "real").mkdir()
    words = ("fine", "dull", "warm", "slow", "bright", "flat", "neat", "stale")
    reviews = [
        {"text": f"a {one} and {other} film", "label": ("positive", "negative")[number % 2]}
        for number, (one, other) in enumerate((one, other) for one in words for other in words)
    ]
    topics = ("World", "Sports", "Business", "Technology")
    titles = [{"text": f"Headline number {number}", "label": topics[number % 4]} for number in range(64)]
    twins = [
        {"statement": f"{one} is larger than {other}.", "n1": one, "n2": other, "label": one > other}
        for first in range(20, 60)
        for one, other in ((first, first + 7), (first + 7, first))
    ]
    for name, rows in (("real/sst2", reviews), ("real/ag_titles", titles), ("larger_than", twins)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="session")
def small() -> Loaded:
    return Loaded.of(str(SMALL_MODEL))
