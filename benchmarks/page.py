"""Writes docs/benchmarks.md from results."""

from benchmarks import findings, tables
from benchmarks.experiments import PRINTED_DRAWS, Scale
from benchmarks.results import Results
from benchmarks.strategies import STRATEGIES

_HEAD = """# Benchmarks

Written by `make bench`. Every strategy gets the same rows, language model (`{model}`, fingerprint `{fingerprint}`)
and seeds. Rows are claims of the small model's world, written as statements with a question mark, in groups with
relations: comparisons in twins of which one is true, the other tasks two to four claims to a question of which at
most one is true. Numbers are means over seeds, with the standard deviation. **U** is the exact leave-one-out
utility (mean form, alpha = 50) of the labels a strategy ended with, computed afterwards and not counted. Tokens are
per row, in units of L, the mean length of a row as a demonstration; they take in restarts, polarity and the final
scores. *Sent* counts all prompts in full, *computed* what the prefix cache did not hold. The raw numbers are in
`benchmarks/results.json`; `python -m benchmarks --redraw` makes this page and its plots from them.
"""
_COHERENCE = """
## Coherence and accuracy at N = {rows}

*Labelled*: the share of rows with a label at the end, where it is not all of them; accuracy and U are those of the
labelled rows. *U - U(gold)*: the mean over seeds, and the worst seed. *Many-shot*: how often the likeliest label of
a row behind all other labels is the gold one; with gold labels this is gold many-shot prompting. *Inverted*: accuracy
below a quarter; *collapsed*: one label on 95 % of the rows or more.
{short}
{table}
![Accuracy, and U less that of the gold labels, against tokens computed per row](benchmarks/quality.svg)
"""
_SHORT = """
{names} after each change scores every row anew: at this size that takes hours on a CPU. The search was cut to {draws:g}
draws a row here (the paper's schedule has several draws for each row), on a few of the seeds; `paper` labels the rows
not drawn by then given the others, `authors` leaves them without a label. At N = {few} below it runs in full.
"""
_TOKENS = """
## Tokens per row

Comparisons. Strategies that rescore every row after each change are *counted*, not computed, all of their {full:g}
draws a row: the search runs on looked-up scores (each row's own behind gold labels, behind inverted ones and alone,
mixed by the labels in the prompt), and the tokens of every prompt are added up for three ways of sending it. For
divide and conquer the prefix cache is as large as the embedded server's; for the fixed order, which would need more,
it is assumed to hold all that the evaluation before has read. Computed in earnest at N = {few}, the search of the
paper needs {sent} L sent and {computed} L computed; counted, {counted_sent} L and {counted_computed} L.
What does not fit the context is searched in shards behind an anchor, as the service does.

{table}
![Tokens per row against the number of rows](benchmarks/tokens.svg)
"""
_IMBALANCE = """
## Imbalance without relations

N = {rows}, {seeds} seeds, no relations at all, `folds`. A labelling whose U is at least that of the gold labels
is a success of the search whatever its accuracy: it is the objective, then, that prefers other labels.

{table}"""
_PAPER = """
## The paper's experiments

N = {rows}. Findings of arXiv 2506.10139 in words: its numbers are of other models and data.

{table}
![The paper's experiments on the small model; a point for each task and seed](benchmarks/paper.svg)

### Accuracy on fresh rows, by what stands in the prompt (Fig. 3)
Zero-shot: nothing; random few-shot: eight rows with random labels; otherwise all {rows} rows with the labels found.

{methods}
### Labels found, and equally many errors on random rows (Fig. 8)
{noise}"""


def write(results: Results, scale: Scale) -> str:
    """The page."""
    head = _HEAD.format(model=results.language_model, fingerprint=results.fingerprint[:12])
    paper = _PAPER.format(
        rows=scale.few_rows,
        table=findings.table(results, scale),
        methods=tables.methods(results, scale),
        noise=tables.noise(results, scale),
    )
    return "".join(
        (
            head,
            _COHERENCE.format(rows=scale.rows, short=_short(scale), table=tables.coherence(results, scale)),
            _TOKENS.format(**_checked(results, scale), table=tables.tokens(results, scale)),
            _IMBALANCE.format(rows=scale.few_rows, seeds=scale.imbalance_seeds, table=tables.imbalance(results, scale)),
            paper,
        )
    )


def _short(scale: Scale) -> str:
    names = [f"`{name}`" for name, contender in STRATEGIES.items() if contender.rescores]
    if scale.draws_per_row >= PRINTED_DRAWS:
        return ""
    return _SHORT.format(names=" and ".join(names), draws=scale.draws_per_row, few=scale.few_rows)


def _checked(results: Results, scale: Scale) -> dict[str, object]:
    """The search computed in earnest beside its count, for one size."""
    real, counted = tables.computed_and_counted(scale)
    return {
        "full": PRINTED_DRAWS,
        "few": scale.few_rows,
        "sent": tables.number(results.mean(real, "sent"), 0),
        "computed": tables.number(results.mean(real, "computed"), 0),
        "counted_sent": tables.number(results.mean(counted, "sent"), 0),
        "counted_computed": tables.number(results.mean(counted, "computed"), 0),
    }
