"""Works out what a language model of a given shape needs on given GPUs: memory, operations, rows an hour, concurrency.

    python -m benchmarks.sizing            prints the tables
    python -m benchmarks.sizing --write    puts them into docs/servers/sizing.md

Nothing is run: shapes are those of published configurations, chips those of data sheets, tokens
and prompts a row those that `make bench` measured (docs/benchmarks/results.json). FLOP are
floating-point operations, a multiplication and an addition counted as two.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results
from benchmarks.results import Results
from benchmarks.tables import markdown

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT = DOCS / "servers" / "sizing.md"
UTILISATION = 0.4  # of the peak, in prefill: an assumption, and the number to replace by one's own
READING = 0.8  # of the memory's bandwidth that attention attains while it reads keys and values: an assumption
MEMORY_SHARE = 0.9  # of a GPU's memory that the server is let have
RESERVE_BYTES = 4e9  # of each GPU for activations and CUDA graphs: an assumption
BLOCK_TOKENS = 16  # vLLM's default on a GPU
WELL_FED = 4  # times the tokens at which a forward pass is bound by memory and by arithmetic alike
ROW_TOKENS = (30, 100, 300)
CONTEXTS = (4_096, 16_384, 32_768, 131_072)
BYTES = {"bf16": 2, "fp8": 1}
GIB = 1 << 30


@dataclass(frozen=True)
class Shape:
    """A decoder with grouped-query attention and gated feed-forward layers, as Llama has."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    inner_width: int
    vocabulary: int

    @property
    def matrix_parameters(self) -> int:
        """Parameters that every token is multiplied by: attention and feed-forward, no embeddings."""
        attention = self.width * self.head_width * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.width * self.inner_width)

    @property
    def parameters(self) -> int:
        """All, with two norms to a layer, the last norm, and embeddings that are not tied."""
        return self.matrix_parameters + self.width * (2 * self.layers + 1) + 2 * self.vocabulary * self.width

    def kv_bytes(self, dtype: str) -> int:
        """Bytes of keys and values that a token takes in the prefix cache."""
        return 2 * self.layers * self.kv_heads * self.head_width * BYTES[dtype]

    def matrix_flop(self, tokens: float, prompts: float) -> float:
        """FLOP of the weights: every token meets the layers' matrices, the last one of a prompt the vocabulary too."""
        return 2 * self.matrix_parameters * tokens + 2 * self.vocabulary * self.width * prompts

    def attention_flop(self, tokens: float, position: float) -> float:
        """FLOP of queries with keys and of weights with values, for tokens with `position` others before them."""
        return 4 * self.layers * self.heads * self.head_width * position * tokens


@dataclass(frozen=True)
class Chip:
    """A GPU by its data sheet; dense arithmetic. None where it has no such arithmetic."""

    name: str
    memory_bytes: float
    bytes_per_second: float
    peak: Mapping[str, float]  # FLOP a second


@dataclass(frozen=True)
class Set:
    """A language model with weights of one type on a number of GPUs."""

    shape: Shape
    chip: Chip
    dtype: str
    gpus: int

    @property
    def weights_bytes(self) -> int:
        """All weights in this kind; in practice some stay bf16 with fp8."""
        return self.shape.parameters * BYTES[self.dtype]

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values (bf16) fit beside the weights; none where these do not fit."""
        each = self.chip.memory_bytes * MEMORY_SHARE - RESERVE_BYTES
        return max(0, int((self.gpus * each - self.weights_bytes) / self.shape.kv_bytes("bf16")))

    def seconds_a_row(self, cost: "RowCost") -> tuple[float, float]:
        """Seconds of arithmetic (attention in bf16), and of reading the prefix from memory once for each prompt."""
        matrices = self.shape.matrix_flop(cost.computed, cost.prompts) / self.chip.peak[self.dtype]
        attention = self.shape.attention_flop(cost.computed, cost.prompt) / self.chip.peak["bf16"]
        read = cost.prompts * cost.prompt * self.shape.kv_bytes("bf16") / (self.chip.bytes_per_second * READING)
        return (matrices + attention) / UTILISATION / self.gpus, read / self.gpus


@dataclass(frozen=True)
class Job:
    """A job that was measured, its tokens in units of L, the mean length of a row."""

    name: str
    prompts: float  # a row
    sent: float
    computed: float

    @property
    def prompt(self) -> float:
        """Mean length of a prompt, in L."""
        return self.sent / self.prompts

    def cost(self, row_tokens: int) -> "RowCost":
        """In tokens, for rows of this length; a prompt computes half a block anew beyond what an ideal cache would."""
        rounding = self.prompts * (BLOCK_TOKENS - 1) / 2
        return RowCost(self.prompts, self.prompt * row_tokens, self.computed * row_tokens + rounding)


@dataclass(frozen=True)
class RowCost:
    """The cost of one row: prompts, their mean length in tokens, and tokens computed."""

    prompts: float
    prompt: float
    computed: float


SHAPES = (
    Shape("8B (Llama 3.1 8B)", 32, 4_096, 32, 8, 128, 14_336, 128_256),
    Shape("70B (Llama 3.1 70B)", 80, 8_192, 64, 8, 128, 28_672, 128_256),
)
H100 = Chip("H100 SXM 80 GB", 80e9, 3.35e12, {"bf16": 989e12, "fp8": 1_979e12})
A100 = Chip("A100 SXM 80 GB", 80e9, 2.04e12, {"bf16": 312e12})
SMALL, LARGE = SHAPES
SETS = (
    Set(SMALL, A100, "bf16", 1),
    Set(SMALL, H100, "bf16", 1),
    Set(SMALL, H100, "fp8", 1),
    Set(LARGE, A100, "bf16", 2),
    Set(LARGE, A100, "bf16", 4),
    Set(LARGE, H100, "bf16", 4),
    Set(LARGE, H100, "fp8", 2),
)


def jobs(stored: Results) -> tuple[Job, ...]:
    """The search `folds` on comparisons, as `make bench` measured it."""
    named = {256: "256 rows, one shard", 1_024: "1,024 rows, shards behind an anchor of 128"}
    found = []
    for rows, name in named.items():
        runs = [
            run
            for run in stored.measured
            if (run.strategy, run.task, run.rows, run.relations, run.share_true, run.concept)
            == ("folds", "comparisons", rows, True, None, "truth")
        ]
        values = {key: stored.mean(runs, key) for key in ("prompts_per_row", "sent", "computed")}
        prompts, sent, computed = (value or 0.0 for value in values.values())
        found.append(Job(name, prompts, sent, computed))
    return tuple(found)


def shapes_table(measured: tuple[Job, ...]) -> str:
    """Weights and keys and values."""
    del measured
    rows = [
        (
            shape.name,
            f"{shape.parameters / 1e9:.2f}",
            *(f"{shape.parameters * size / 1e9:.1f}" for size in BYTES.values()),
            f"2 x {shape.layers} x {shape.kv_heads} x {shape.head_width} x bytes",
            *(f"{shape.kv_bytes(dtype) / 1024:.0f}" for dtype in BYTES),
        )
        for shape in SHAPES
    ]
    head = (
        "model", "parameters (10^9)", "weights, bf16 (GB)", "weights, fp8 (GB)", "keys and values of a token",
        "bf16 (KiB)", "fp8 (KiB)",
    )  # fmt: skip
    return markdown(head, rows)


def prefix_table(measured: tuple[Job, ...]) -> str:
    """Memory of a prefix."""
    del measured
    rows = [
        (f"{tokens:,}", *(f"{tokens * shape.kv_bytes(dtype) / GIB:.2f}" for shape in SHAPES for dtype in BYTES))
        for tokens in CONTEXTS
    ]
    return markdown(("tokens", *(f"{shape.name}, {dtype} (GiB)" for shape in SHAPES for dtype in BYTES)), rows)


def fit_table(measured: tuple[Job, ...]) -> str:
    """The prefix cache that fits beside the weights."""
    del measured
    rows = [
        (
            *_names(one),
            f"{one.weights_bytes / 1e9:.1f}",
            f"{one.gpus * one.chip.memory_bytes / 1e9:.0f}",
            f"{one.kv_tokens:,}" if one.kv_tokens else "does not fit",
            f"{one.kv_tokens / CONTEXTS[2]:.1f}" if one.kv_tokens else "-",
        )
        for one in SETS
    ]
    head = ("model", "weights", "GPUs", "weights (GB)", "memory (GB)", "tokens of prefix cache", "prefixes of 32k")
    return markdown(head, rows)


def tokens_table(measured: tuple[Job, ...]) -> str:
    """Tokens a row."""
    rows = []
    for job in measured:
        for row_tokens in ROW_TOKENS:
            cost = job.cost(row_tokens)
            rows.append(
                (
                    job.name,
                    str(row_tokens),
                    f"{job.prompts:.1f}",
                    f"{cost.prompt:,.0f}",
                    f"{job.sent * row_tokens:,.0f}",
                    f"{job.computed * row_tokens:,.0f}",
                    f"{cost.computed:,.0f}",
                )
            )
    head = (
        "job", "L", "prompts a row", "mean prompt (tokens)", "sent a row", "computed a row, ideal cache",
        f"computed a row, blocks of {BLOCK_TOKENS}",
    )  # fmt: skip
    return markdown(head, rows)


def speed_table(measured: tuple[Job, ...]) -> str:
    """Rows an hour."""
    rows = []
    for one in SETS:
        if not one.kv_tokens:
            continue
        for job in measured:
            costs = [one.seconds_a_row(job.cost(row_tokens)) for row_tokens in ROW_TOKENS]
            hourly = [3600 / sum(cost) for cost in costs]
            prompts = f"{hourly[0] * job.prompts / 3600:,.0f}"
            rows.append((*_names(one), job.name, *(f"{rows:,.0f}" for rows in hourly), prompts))
    head = (
        "model", "weights", "GPUs", "job", *(f"rows/h, L = {tokens}" for tokens in ROW_TOKENS),
        f"prompts/s, L = {ROW_TOKENS[0]}",
    )  # fmt: skip
    return markdown(head, rows)


def concurrency_table(measured: tuple[Job, ...]) -> str:
    """Prompts in flight that keep prefill bound by arithmetic, behind an anchor."""
    behind_anchor, rows = measured[-1], []
    for chip in (A100, H100):
        for dtype, peak in chip.peak.items():
            ridge = peak * BYTES[dtype] / (2 * chip.bytes_per_second)
            wanted = WELL_FED * ridge
            costs = [behind_anchor.cost(tokens) for tokens in ROW_TOKENS]
            in_flight = [2 * wanted * cost.prompts / cost.computed for cost in costs]
            rows.append((chip.name, dtype, f"{ridge:,.0f}", f"{wanted:,.0f}", *(f"{max(2, n):.0f}" for n in in_flight)))
    head = (
        "GPU", "weights", "tokens a pass, arithmetic = reading weights", f"{WELL_FED} times that",
        *(f"in flight, L = {tokens}" for tokens in ROW_TOKENS),
    )  # fmt: skip
    return markdown(head, rows)


def _names(one: Set) -> tuple[str, str, str]:
    return one.shape.name, one.dtype, f"{one.gpus} x {one.chip.name}"


TABLES: Mapping[str, Callable[[tuple[Job, ...]], str]] = {
    "shapes": shapes_table,
    "prefix": prefix_table,
    "fit": fit_table,
    "tokens": tokens_table,
    "speed": speed_table,
    "concurrency": concurrency_table,
}


def updated(text: str, measured: tuple[Job, ...]) -> str:
    """The document with every table between its marks computed anew. Raises KeyError for an unknown table."""

    def table(mark: re.Match[str]) -> str:
        return f"<!-- table: {mark[1]} -->\n{TABLES[mark[1]](measured)}<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def measured_jobs() -> tuple[Job, ...]:
    """Those of the stored benchmarks."""
    return jobs(results.read(DOCS / "benchmarks" / "results.json"))


def main() -> None:
    """Print, or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"update {DOCUMENT.name}")
    measured = measured_jobs()
    if parser.parse_args().write:
        DOCUMENT.write_text(updated(DOCUMENT.read_text("utf-8"), measured), "utf-8")
    else:
        sys.stdout.write("\n".join(table(measured) for table in TABLES.values()))


if __name__ == "__main__":
    main()
