"""`python -m inference.pretraining`: pretrain the small model into its folder, then measure it."""

import logging
from pathlib import Path

from inference.language_model import Source, load
from inference.pretraining.evaluate import report
from inference.pretraining.train import Pretraining, Recipe
from inference.settings import SMALL_MODEL

REPORT = Path("docs/small_model.md")

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    Pretraining(Recipe()).run(SMALL_MODEL)
    REPORT.write_text(report(load(Source(str(SMALL_MODEL)))), encoding="utf-8")
