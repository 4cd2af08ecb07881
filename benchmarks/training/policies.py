"""Trains policies of the small model to continue comparisons truly, and one against a reward that can be hacked.

    python -m benchmarks.training.policies

For each seed two reward models are trained on different pairs: one trains the policy, the other one judges it. The
planted reward model is trained on pairs of which the longer one was chosen, whatever it says.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.training.claims import STOP, Pair, length_pairs, prompts, truth_pairs
from benchmarks.training.records import Measured, Records
from benchmarks.training.runs import forget, parser_of, train
from inference.settings import SMALL_MODEL

PAIRS, PROMPTS, HELD_OUT = 300, 160, 0.4
SETTINGS: Mapping[str, Any] = {"epochs": 4, "learning_rate": 3e-3, "holdout": HELD_OUT, "checkpoint_steps": 12}
POLICY: Mapping[str, Any] = {"completions": 4, "stop": STOP, "kl_weight": 0.05, "kl_limit": 8}
_COMPLETION_TOKENS = {"truth": 8, "length": 16}
_JUDGE = 1000  # added to the seed of the judge's pairs


@dataclass(frozen=True, slots=True)
class Bench:
    """The work folder of trainings, and the records."""

    work: Path
    records: Records

    def seed(self, seed: int) -> None:
        """Train and measure an honest policy."""
        case = {"task": "policy", "reward": "truth", "seed": seed}
        self.records.kept(case, partial(self._policy, "truth", truth_pairs(PAIRS, seed), seed))

    def planted(self, seed: int) -> None:
        """Train and measure a policy against a reward model that goes by length; the judge goes by truth."""
        case = {"task": "policy", "reward": "length", "seed": seed}
        self.records.kept(case, partial(self._policy, "length", length_pairs(PAIRS, seed), seed))

    def _policy(self, name: str, pairs: Sequence[Pair], seed: int) -> Measured:
        folder = self.work / f"policy-{name}-{seed}"
        reward = self._reward_model(folder / "reward", pairs, seed)
        judge = self._reward_model(folder / "judge", truth_pairs(PAIRS, seed + _JUDGE), seed + 1)
        policy = {**POLICY, "completion_tokens": _COMPLETION_TOKENS[name], "reward": reward[0], "judge": judge[0]}
        named = {"base": str(SMALL_MODEL), "kind": "policy", "seed": seed, "policy": policy, **SETTINGS}
        trained = train(folder / "policy", prompts(PROMPTS, seed), named)
        report = trained.report
        after = {name: value for name, value in report["after"].items() if name != "samples"}
        measured = {"reward_model": reward[1], "judge_model": judge[1], **after, "ended_early": _ended(report)}
        forget(folder)
        return {**measured, **trained.cost}

    def _reward_model(self, folder: Path, pairs: Sequence[Pair], seed: int) -> tuple[str, float]:
        """Its folder and its accuracy on held-out pairs."""
        named = {"base": str(SMALL_MODEL), "kind": "reward", "seed": seed}
        trained = train(folder, pairs, named)
        accuracy: float = trained.report["training"]["epochs"][-1]["held_out"]["accuracy"]
        return str(trained.folder.resolve()), accuracy


def _ended(report: Mapping[str, Any]) -> str | None:
    reason: str | None = report["training"]["ended_early"]
    return reason


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = parser_of(__doc__, seeds=3)
    given = parser.parse_args(arguments)
    bench = Bench(given.work, Records(given.results))
    bench.planted(given.seeds[0])
    for seed in given.seeds:
        bench.seed(seed)
        sys.stdout.write(f"seed {seed} is measured\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
