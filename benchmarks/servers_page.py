"""The text of docs/servers/comparison.md."""

from collections.abc import Mapping, Sequence

from benchmarks.comparison import Comparison, Measured, Way
from benchmarks.tables import markdown

LIMIT_NATS = 1e-3  # between the scores of the same prompt

_PAGE = """# One job, three ways to score it

This page shows whether vLLM and the embedded server give the same labels, and at what cost. `python -m
benchmarks.servers` writes it (`make test-vllm` installs vLLM for it). Every run labels the same {rows} generated
comparisons in {pairs} pairs of twins, seed 0, through the whole service on the small model in float32. The ways are
vLLM 0.32 **on the CPU**, and the embedded server by its `tgi` wire and by its tree call. Server and service share two
CPU cores, of which the language model has one. Each run gets a fresh server, and runs of all ways alternate. We used
no GPU: a GPU behaves alike in scores and tokens, but not in time.

## Labels and scores
{outcome}
The comparison covers both labels of the {common} different prompts that all runs asked.
{verdict}

## Cost
L is the mean length of a row, {length:.1f} tokens. *Computed* is the adapter's sum over the server's replies;
*by its counters* is the figure of vLLM's `/metrics` for the same time, `prefix_cache_queries` less `prefix_cache_hits`.
Time is the worker's, the median of {repeats} runs, as a multiple of the tree call's{spread}.

{cost}
{counters}
## What blocks mean for short rows
vLLM's prefix cache shares whole blocks. vLLM computes the tokens after a prompt's last known full block anew: half a
block on average, and the prompt's own part. On the CPU a block has 128 tokens, or a multiple of 32 that
`--block-size` names (vLLM refuses 16 with "No common block size for 16"); on a GPU it has 16. The table shows how
many tokens a cache that forgets nothing computes for this job's {asked:,} prompts, one after the other in the order
of the search:

{blocks}
For rows of {length:.0f} tokens half a block of 128 is several rows, so `--block-size 32` is worth it on the CPU;
on a GPU, and with longer rows, the rounding costs little. SGLang and the embedded server share to the token.
"""


def write(comparison: Comparison, ideal: Mapping[int, int]) -> str:
    """The page."""
    base, rows = comparison.ways[0], len(comparison.data.rows)
    first = comparison.first(base)
    differences = [comparison.difference(way, base) for way in comparison.ways[1:]]
    return _PAGE.format(
        rows=rows,
        pairs=rows // 2,
        outcome=_outcome(comparison),
        common=f"{min(common for common, _ in differences):,}",
        verdict=_verdict(comparison, max(nats for _, nats in differences)),
        length=comparison.data.mean_tokens,
        repeats=len(comparison.runs[base.name]),
        spread=_spread(comparison),
        cost=_cost(comparison),
        counters=_counters(comparison),
        asked=len(first.recorder.asked),
        blocks=_blocks(comparison, ideal),
    )


def _outcome(comparison: Comparison) -> str:
    base = comparison.ways[0]
    expected = comparison.first(base).labels
    rows = []
    for way in comparison.ways:
        run = comparison.first(way)
        same = sum(one == other for one, other in zip(run.labels, expected, strict=True))
        difference = "" if way is base else f"{comparison.difference(way, base)[1]:.1e}"
        rows.append((way.name, f"{same} of {len(expected)}", f"{run.accuracy:.3f}", f"`{run.verdict}`", difference))
    head = ("way", "labels as by the tree call", "accuracy", "verdict", "largest difference of a score (nats)")
    return markdown(head, rows)


def _verdict(comparison: Comparison, nats: float) -> str:
    labels = {tuple(run.labels) for runs in comparison.runs.values() for run in runs}
    same = (
        "All runs found the same labels" if len(labels) == 1 else f"The runs found {len(labels)} different labellings"
    )
    return (
        f"{same}; scores are {'within' if nats < LIMIT_NATS else '**not within**'} {LIMIT_NATS:g} nats of each other."
    )


def _cost(comparison: Comparison) -> str:
    base, rows, unit = comparison.ways[0], [], comparison.data.mean_tokens * len(comparison.data.rows)
    for way in comparison.ways:
        run = comparison.first(way)
        usage, counted = run.recorder.usage, run.counted
        rows.append(
            (
                way.name,
                f"{usage.prompts:,}",
                f"{usage.tokens_sent:,}",
                f"{usage.tokens_computed:,}" + (" (modelled)" if usage.modelled else ""),
                "" if counted is None else f"{counted.computed:,}",
                f"{usage.tokens_computed / unit:.1f}",
                f"{comparison.seconds(way) / comparison.seconds(base):.2f}",
            )
        )
    head = ("way", "prompts", "tokens sent", "computed", "by its counters", "computed a row (L)", "time")
    return markdown(head, rows)


def _counters(comparison: Comparison) -> str:
    """The differences between the adapter's sums and vLLM's counters."""
    lines = []
    for way in comparison.ways:
        run = comparison.first(way)
        if run.counted is None:
            continue
        sent = run.counted.sent - run.recorder.usage.tokens_sent
        computed = run.counted.computed - run.recorder.usage.tokens_computed
        apart = f"{sent:,} tokens more sent and {computed:,} more computed"
        lines.append(f"- {way.name}: vLLM counts {apart} than the adapter.\n")
    return f"{_CANARY}\n{''.join(lines)}" if lines else ""


_CANARY = """\
vLLM also counts the prompts of the canary, with which a worker checks that the server still has the same model:"""


def _spread(comparison: Comparison) -> str:
    """Slowest against fastest run, over all ways."""
    ratios = [_slowest(runs) for runs in comparison.runs.values()]
    return f";\nthe slowest run of a way took {max(ratios):.2f} times as long as its fastest, at most"


def _slowest(runs: Sequence[Measured]) -> float:
    return max(run.seconds for run in runs) / min(run.seconds for run in runs)


def _blocks(comparison: Comparison, ideal: Mapping[int, int]) -> str:
    """An ideal cache's tokens for each size of block, and the tokens computed in a run with that size."""
    ran: dict[int, Way] = {}
    for way in comparison.ways:
        block = comparison.first(way).block
        ran[1 if block is None else block] = way
    prompts = len(comparison.first(comparison.ways[0]).recorder.asked)
    rows = []
    for block, computed in ideal.items():
        found = f"{comparison.first(ran[block]).recorder.usage.tokens_computed:,}" if block in ran else ""
        extra = (computed - ideal[1]) / prompts
        rows.append((str(block), f"{computed:,}", f"{computed / ideal[1]:.2f}", f"{extra:.1f}", found))
    head = (
        "tokens of a block",
        "computed",
        "against sharing to the token",
        "more a prompt",
        "computed in the run above",
    )
    return markdown(head, rows)
