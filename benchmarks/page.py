"""Writes docs/benchmarks.md from results."""

from benchmarks import findings, tables
from benchmarks.experiments import PRINTED_DRAWS, Scale
from benchmarks.results import Results
from benchmarks.strategies import STRATEGIES

_HEAD = """# Benchmarks

This page compares the strategies of the search in accuracy and cost, and repeats the paper's experiments on the small
model. `make bench` writes it. Every strategy gets the same rows, language model (`{model}`, fingerprint
`{fingerprint}`) and seeds. Rows are claims of the small model's world, written as statements with a question mark, in
groups with relations: comparisons come in twins of which one is true; in the other tasks at most one of two to four
claims to a question is true. Numbers are means over seeds, with the standard deviation. **U** is the exact
leave-one-out utility (mean form, alpha = 50) of a strategy's final labels; `make bench` computes it afterwards and
does not count its cost. Tokens are per row, in units of L, the mean length of a row as a demonstration; they include
restarts, polarity and the final scores. *Sent* counts all prompts in full, *computed* the tokens that the prefix
cache did not hold. The raw numbers are in `benchmarks/results.json`; `python -m benchmarks --redraw` makes this page
and its plots from them.
"""
_COHERENCE = """
## Coherence and accuracy at N = {rows}

*Labelled*: the share of rows with a label at the end, if some have none; accuracy and U cover the labelled rows. *U -
U(gold)*: the mean over seeds, and the worst seed. *Many-shot*: the share of rows whose likeliest label behind all
other labels is the gold one; with gold labels this is gold many-shot prompting. *Inverted*: accuracy below a quarter;
*collapsed*: one label on 95 % of the rows or more.
{short}
{table}
![Accuracy, and U less that of the gold labels, against tokens computed per row](benchmarks/quality.svg)
"""
_SHORT = """
{names} score every row anew after each change, which takes hours on a CPU at this size. We limited their search to
{draws:g} draws a row here (the paper's schedule has several draws for each row), on a few of the seeds. `paper`
labels the rows not drawn by then given the others, `authors` leaves them without a label. At N = {few} below they run
in full.
"""
_TOKENS = """
## Tokens per row

The task is comparisons. For strategies that rescore every row after each change the benchmark *counts* the tokens of
all {full:g} draws a row without computing them. The search runs on looked-up scores (each row's own behind gold labels,
behind inverted ones and alone, mixed by the labels in the prompt), and the benchmark adds up the tokens of every prompt
for three ways of sending it. For divide and conquer the prefix cache is as large as the embedded server's. The fixed
order would need a larger one, so the benchmark assumes that the cache holds all prompts of the previous evaluation.
Computed at N = {few}, the search of the paper needs {sent} L sent and {computed} L computed; counted, {counted_sent} L
and {counted_computed} L. The search divides rows that do not fit the context into shards behind an anchor, as the
service does.

{table}
![Tokens per row against the number of rows](benchmarks/tokens.svg)
"""
_IMBALANCE = """
## Imbalance without relations

N = {rows}, {seeds} seeds, no relations at all, `folds`. If the U of a labelling reaches that of the gold labels,
the search has succeeded whatever the accuracy: then the objective itself prefers other labels.

{table}"""
_PAPER = """
## The paper's experiments

N = {rows}. The table gives the findings of arXiv 2506.10139 in words, since its numbers belong to other models and
data.

{table}
![The paper's experiments on the small model; a point for each task and seed](benchmarks/paper.svg)

### Accuracy on fresh rows, by prompt (Fig. 3)
Zero-shot shows no demonstration, random few-shot eight rows with random labels; the others show all {rows} rows with
their labels.

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
    """The tokens of the computed search and of the counted one, for one size."""
    real, counted = tables.computed_and_counted(scale)
    return {
        "full": PRINTED_DRAWS,
        "few": scale.few_rows,
        "sent": tables.number(results.mean(real, "sent"), 0),
        "computed": tables.number(results.mean(real, "computed"), 0),
        "counted_sent": tables.number(results.mean(counted, "sent"), 0),
        "counted_computed": tables.number(results.mean(counted, "computed"), 0),
    }
