"""Standard output carries results and nothing else; notes for the eye go to standard error."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from service.records.training_kinds import figures_of_base
from service.terminal import visible, visible_line
from service.values import by_number, counted

_BIASES = (("length", "longer_chosen", "the longer text"), ("position", "first_chosen", "the text shown first"))
AS_JSON = "icm.as_json"  # key of the command line's context: whether errors are JSON


class Terminal(Console):
    """The one place through which text for people goes out: none of it can steer the terminal, or counts as markup.

    What comes as a string is escaped before it is laid out, so that columns fit; all else as it is written.
    """

    def __init__(self, **named: Any) -> None:
        super().__init__(markup=False, emoji=False, **named)

    def render_str(self, text: str, **named: Any) -> Text:
        """A string as rich lays it out."""
        return super().render_str(visible(text), **named)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments to write; rich's own control sequences are segments of another kind."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def on_stdout() -> Terminal:
    """The console for results."""
    return Terminal()


def on_stderr() -> Terminal:
    """The console for progress and errors."""
    return Terminal(stderr=True)


def write_line(console: Console, line: str, *, style: str | None = None) -> None:
    """Write the text as one line, with control characters made visible."""
    console.print(visible_line(line), style=style, markup=False, highlight=False, soft_wrap=True)


def write_warnings(warnings: Iterable[str]) -> None:
    """Write the warnings of a job to standard error."""
    for warning in warnings:
        write_line(on_stderr(), f"warning: {warning}")


def write_json(document: Any) -> None:
    """Write a JSON document on one line and flush it."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


_WHOLE = ("id", "kind", "status", "rows", "steps")  # on 80 columns others give way, so that people can copy ids


class _PlainTable(Table):
    def add_row(self, *cells: RenderableType | None, **named: Any) -> None:
        """Add a row whose cells are one line each."""
        super().add_row(*(visible_line(cell) if isinstance(cell, str) else cell for cell in cells), **named)


def plain_table(*columns: str) -> Table:
    """Build a table without borders, whose cells appear unchanged."""
    table = _PlainTable(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in _WHOLE)
    return table


def count(number: float) -> str:
    """Format a large number briefly: 940, 12.3k, 4.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{number / (1e3 if letter == 'k' else size):.1f}{letter}"
    return f"{number:.0f}"


def counted_briefly(number: float, noun: str) -> str:
    """A number as `count` formats it, with its noun."""
    return f"{count(number)} {by_number(round(number), noun, noun + 's')}"


def known_lines(known: Mapping[str, int]) -> list[str]:
    """An estimate's known rows in one line; no line if there are none."""
    labels = ", ".join(f"{rows} {label}" for label, rows in known.items())
    return [f"{counted(sum(known.values()), 'known row')}: {labels}"] if known else []


def summary_of(report: Mapping[str, Any]) -> list[str]:
    """Summarise a report: verdict with reasons, labels, headline numbers, accuracy, baselines, cost."""
    lines = [f"verdict: {report['verdict']}"]
    lines += [f"  {reason.get('verdict', '')}: {reason.get('message', reason)}" for reason in report.get("reasons", [])]
    shares = [f"{share['label']} {share['rows']}" for share in report.get("labels", [])]
    lines += [f"labels: {', '.join(shares)}"] if shares else []
    lines += _headline(report)
    lines += _reward_model(report.get("reward_model"))
    lines += _known_accuracy(report.get("known_accuracy"))
    if report.get("accuracy") is not None:
        rows = report["gold_rows"] - (report.get("gold_rows_unmatched") or 0)
        lines.append(f"accuracy: {report['accuracy']:.3f} on {counted(rows, 'row')} with gold labels")
    lines += _unmatched_gold(report)
    lines += [_baseline(baseline) for baseline in report.get("baselines", [])]
    cost = report.get("cost") or {}
    if cost.get("tokens_sent") is not None:
        seconds = "" if cost.get("seconds") is None else f", {cost['seconds']:.1f} s"
        known = cost.get("prompts_remembered")
        memory = f", {counted_briefly(known, 'prompt')} answered from memory" if known else ""
        tokens = f"{counted_briefly(cost['tokens_sent'], 'token')} sent, {count(cost['tokens_computed'])} computed"
        lines.append(f"cost: {tokens}{memory}{seconds}")
    return lines


def _unmatched_gold(report: Mapping[str, Any]) -> list[str]:
    """Gold values that match no label, in one line; no line if there are none."""
    if not report.get("gold_rows_unmatched"):
        return []
    shown = ", ".join(f"{found['value']!r} in {found['rows']}" for found in report.get("gold_values_unmatched") or ())
    unmatched, gold = report["gold_rows_unmatched"], counted(report["gold_rows"], "row")
    return [f"gold: {unmatched} of {gold} {by_number(unmatched, 'holds', 'hold')} none of the labels: {shown}"]


def _headline(report: Mapping[str, Any]) -> list[str]:
    """The known numbers behind the verdict."""
    coherence, is_gain = report.get("coherence") or {}, (report.get("search") or {}).get("gain_nats") is not None
    figures = (
        ("gain_nats", "information gain" if is_gain else "gain over shuffled labels", "{:.3f} nats per row"),
        ("gain_share", "share of the labels' entropy" if is_gain else "share of their cost saved", "{:.0%}"),
        ("polarity_nats", "margin over permuted labels", "{:.3f} nats per row"),
        ("restart_agreement", "agreement of restarts", "{:.0%}"),
    )
    known = [f"{name} {form.format(coherence[key])}" for key, name, form in figures if coherence.get(key) is not None]
    return [f"coherence: {', '.join(known)}"] if known else []


def _reward_model(found: Mapping[str, Any] | None) -> list[str]:
    """The reward model that gave the labels, with the measurements of its quality; no line without one."""
    if found is None:
        return []
    agreement = found.get("agreement")
    seen = (
        "nothing held out of its training"
        if agreement is None
        else f"ranks {agreement['hits']} of {counted(agreement['rows'], 'held-out pair')} as their labels do"
    )
    learned = f"learned {counted(found['pairs'], 'pair')} of {', '.join(found['job_ids'])}"
    tied = found.get("ties") or 0
    ties = f"; {counted(tied, 'row')} {by_number(tied, 'ties', 'tie')}" if tied else ""
    return [f"reward model: {found['training_id']}, {learned}; {seen}{ties}"]


def _known_accuracy(found: Mapping[str, Any] | None) -> list[str]:
    """The accuracy on known rows with its 95 % interval; no line without it."""
    if not found:
        return []
    counts = f"{found['hits']} of {found['rows']}, {found['lower']:.2f} to {found['upper']:.2f}"
    return [f"accuracy on the known rows when they are left out: {counts}"]


def _baseline(baseline: Mapping[str, Any]) -> str:
    line = f"baseline {baseline['name']}: {counted(baseline['rows'], 'row')}"
    if baseline.get("agreement") is not None:
        line += f", {baseline['agreement']:.0%} labelled as by the job"
    if baseline.get("accuracy") is not None:
        line += f", accuracy {baseline['accuracy']:.3f}, of the job {baseline['job_accuracy']:.3f}"
    return line


def lineage(document: Mapping[str, Any]) -> Iterator[str]:
    """The lineage of a training: the base, the jobs, and a policy's reward models with their jobs."""
    made_of = document.get("lineage") or {}
    if base := document.get("base") or ((document.get("manifest") or {}).get("base") or {}).get("name"):
        yield f"base: {base}"
    yield f"jobs: {', '.join(made_of.get('jobs') or ())}"
    for name, title in (("reward", "reward model"), ("judge", "judge")):
        if made_of.get(name):
            jobs = made_of.get(f"{name}_jobs")
            yield f"{title}: {made_of[name]}" + (f", which learned from {', '.join(jobs)}" if jobs else "")


def measured(report: Mapping[str, Any]) -> Iterator[str]:
    """The measurements of a training's report on held-out rows, in the words of its kind."""
    if outcome := report.get("after"):
        yield from _measured_policy(outcome)
        return
    base, epochs = figures_of_base(report), (report.get("training") or {}).get("epochs") or [{}]
    last = epochs[-1].get("held_out") or {}
    noun, name = ("pair", "accuracy") if report.get("kind") == "reward" else ("row", "agreement")
    held_out = counted(last.get("rows") or 0, f"held-out {noun}")
    yield f"{name} on {held_out}, by their labels: {_change(name, base, last)}"
    by_gold = "gold_accuracy" if name == "accuracy" else "accuracy"
    if last.get(by_gold) is not None:
        yield f"accuracy on held-out {noun}s, by gold: {_change(by_gold, base, last)}"
    yield from _biases(last)
    for control, found in (report.get("controls") or {}).items():
        end = ((found.get("epochs") or [{}])[-1]).get("held_out") or {}
        yield f"control {control}: {name} {_share(end.get(name))}"


def _change(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return f"{_share(before.get(name))} before, {_share(after.get(name))} after"


def _biases(held_out: Mapping[str, Any]) -> Iterator[str]:
    """Other features that the reward of a text may follow (docs/training.md#reward-models)."""
    for name, field, what in _BIASES:
        share = (held_out.get(name) or {}).get(field)
        if share is not None:
            yield f"{what} was the better one in {share:.0%} of these pairs"
    if (correlation := (held_out.get("length") or {}).get("reward_by_length")) is not None:
        yield f"correlation of reward and length: {correlation:.2f}"


def _measured_policy(outcome: Mapping[str, Any]) -> Iterator[str]:
    yield f"reward on {counted(outcome['rows'], 'held-out prompt')}: {_from_to(outcome['reward'])}"
    if outcome.get("win_rate") is not None:
        yield f"win rate against the base, by the judge: {outcome['win_rate']:.0%}; judge: {_from_to(outcome['judge'])}"
    yield f"KL divergence from the base: {outcome['kl_nats']:.2f} nats for a completion"
    for name, found in outcome["goes_with"].items():
        if isinstance(found, Mapping) and found.get("share_of_gain") is not None:
            yield f"{name}: {_from_to(found)}; {found['share_of_gain']:.0%} of the gain goes along with it"
    yield from (f"warning: {warning['code']}: {warning['message']}" for warning in outcome.get("warnings") or ())


def _from_to(figures_: Mapping[str, Any]) -> str:
    return f"{figures_['before']:.2f} before, {figures_['after']:.2f} after"


def _share(number: float | None) -> str:
    return "unknown" if number is None else f"{number:.3f}"
