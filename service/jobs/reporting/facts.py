"""Reads the facts that the searches of a job's shards recorded about themselves."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from service.identifiers import JobId, Label, Row
from service.jobs.task.problem import ANCHOR
from service.ports.store import ProjectUnit

_PAGE = 10_000
_NAMES_IN_SUMMARIES = {  # of facts whose name in the report is another one
    "anchor_rows": "rows",
    "anchor_utility": "utility",
    "complement_utility": "permuted_utility",
}

Labelling = Mapping[Row, Label]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolarityTrial:
    """How fast a training learns labels and permuted ones: an epoch on some rows, then the mean -log p of others."""

    rows: int  # the others
    found_nats: float  # mean over these rows, after an epoch on the labels found
    permuted_nats: float  # after one on the permutation of them that was learned fastest: of two labels the inverse
    error_nats: float  # standard error of the difference


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFacts:
    """Facts that the search measured; null if it did not. Utilities are those of the anchor."""

    utility: float | None  # mean over all rows
    anchor_rows: int | None = None
    anchor_utility: float | None = None
    sample_rows: int | None = None  # rows of the anchor that were scored again for the comparisons below
    sample_utility: float | None = None  # of the labels on the sample
    polarity_nats: float | None = None  # prior log-odds of the labels against their likeliest permutation
    complement_utility: float | None = None  # of the best labelling with its labels permuted
    shuffled_utility: float | None = None  # of the same labels shuffled over the same rows
    gain_nats: float | None = None  # G of the labels on the sample, without conflicts; only under objective `gain`
    entropy_nats: float | None = None  # of the label shares on the sample: the largest possible gain
    impression_utility: float | None = None  # of the labels of the first impression; only under objective `gain`
    impression_confirmed: bool | None = None  # whether demonstrations confirm the first impression
    expected_accuracy: float | None = None  # mean confidence on the anchor; null if nothing confirms it
    known_rows: int | None = None  # known rows of the anchor predicted without showing them; null if there are none
    known_right: int | None = None  # of these, rows whose known label was the likeliest
    known_commonest: int | None = None  # of these, rows with the commonest known label; always guessed, it hits as many
    predictability: float | None = None  # P alone, nats per row, without conflicts
    shuffled_predictability: float | None = None
    restart_utilities: list[float] = field(default_factory=list)
    restart_agreement: float | None = None  # share of rows to which the other starts give the same label
    demonstrations_dropped: int | None = None  # rows that did not fit among the demonstrations
    unproven_redraws: int | None = None  # redraws of large groups without a proof that the labelling is the best
    stop_reasons: dict[str, int] = field(default_factory=dict)  # number of shards by reason
    trainings: int | None = None  # of strategies that train
    tokens_trained: int | None = None  # that these read, about, once for each epoch
    changed_shares: list[float] = field(default_factory=list)  # share of labels that each round of trainings changed
    polarity_trial: PolarityTrial | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summaries:
    """The summaries of all finished shards; most facts come from the anchor, or from the only shard."""

    anchor: Mapping[str, Any]
    stop_reasons: Mapping[str, int]
    unproven_redraws: int | None = None
    prompts_remembered: int = 0  # in all shards: prompts with a stored answer, at no cost
    expected_counts: Sequence[Mapping[str, Any]] = ()  # of each shard that recorded them
    rewards: Sequence[Mapping[str, Any]] = ()  # of each shard that a reward model has labelled

    def search_facts(self, utility: float | None) -> SearchFacts:
        """The facts by their names in the report; `utility` is that of the whole job."""
        of_job: dict[str, Any] = {
            "utility": utility,
            "unproven_redraws": self.unproven_redraws,
            "stop_reasons": dict(self.stop_reasons),
            "polarity_trial": _polarity_trial(self.anchor.get("polarity_trial")),
        }
        names = {one.name: _NAMES_IN_SUMMARIES.get(one.name, one.name) for one in fields(SearchFacts)}
        found = {name: self.anchor[stored] for name, stored in names.items() if self.anchor.get(stored) is not None}
        return SearchFacts(**{**found, **of_job})

    def labellings(self) -> Sequence[Mapping[str, Any]]:
        """The labellings that the anchor's search has measured; empty unless the objective is `gain`."""
        found: Sequence[Mapping[str, Any]] = self.anchor.get("labellings") or ()
        return found

    def baselines(self) -> dict[str, Labelling]:
        """Each baseline's labels of rows of the anchor."""
        found: Mapping[str, Sequence[tuple[int, int]]] = self.anchor.get("baselines") or {}
        return {name: {Row(row): Label(label) for row, label in pairs} for name, pairs in found.items()}


def _polarity_trial(stored: Mapping[str, Any] | None) -> PolarityTrial | None:
    """The trial that a search recorded; None if there was none, or another release measured something else."""
    names = [one.name for one in fields(PolarityTrial)]
    if stored is None or any(name not in stored for name in names):
        return None
    return PolarityTrial(**{name: stored[name] for name in names})


async def read_summaries(unit: ProjectUnit, job_id: JobId) -> Summaries:
    """Read and combine the summaries of all finished shards."""
    stored = await unit.jobs.summaries(job_id)
    logged = await _of_the_log(unit, job_id) if None in stored.values() else {}
    summaries = {shard: logged.get(shard, {}) if summary is None else summary for shard, summary in stored.items()}
    reasons = (summary.get("stop_reason") for summary in summaries.values())
    stop_reasons = Counter(str(reason) for reason in reasons if reason is not None)
    unproven = [summary["unproven_redraws"] for summary in summaries.values() if "unproven_redraws" in summary]
    return Summaries(
        anchor=summaries.get(ANCHOR, {}),
        stop_reasons=stop_reasons,
        unproven_redraws=sum(unproven) if unproven else None,
        prompts_remembered=sum(summary.get("prompts_remembered", 0) for summary in summaries.values()),
        expected_counts=[summary["expected_counts"] for summary in summaries.values() if "expected_counts" in summary],
        rewards=[summary["reward"] for summary in summaries.values() if "reward" in summary],
    )


async def _of_the_log(unit: ProjectUnit, job_id: JobId) -> dict[int, Mapping[str, Any]]:
    """The summaries of shards that an earlier release finished: from the last such event of each shard."""
    summaries: dict[int, Mapping[str, Any]] = {}
    after = 0
    while page := await unit.events.after(job_id, after, limit=_PAGE):
        for event in page:
            if event.type == "shard.finished" and isinstance(event.data.get("summary"), Mapping):
                summaries[event.data["shard"]] = event.data["summary"]
        after = page[-1].sequence
    return summaries
