"""Render reports as self-contained pages, without scripts, fonts or requests."""

import base64
import hashlib
from functools import cache
from importlib.metadata import version

from jinja2 import Environment, PackageLoader, StrictUndefined

from api.page import charts
from api.page.trainings import TrainingPage
from api.schemas import JobBody, ReportBody
from service.jobs.reporting.ranking import words_for
from service.jobs.reporting.verdicts import SHORTCUT, Verdict, name_of
from service.records.trainings import TrainingReport
from service.values import by_number

_NOWHERE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
UNKNOWN = "\N{EN DASH}"
_SHOWN_SHORTCUTS = 12
_HEADLINES = {
    Verdict.OK: "Nothing speaks against these labels",
    Verdict.SUSPICIOUS: "Look before you use these labels",
    Verdict.DO_NOT_USE: "Do not use these labels",
}


def render_report(job: JobBody, report: ReportBody) -> str:
    """Render the page; it escapes every text from outside."""
    return (
        _environment()
        .get_template("report.html")
        .render(
            job=job,
            report=report,
            headline=_HEADLINES[report.verdict],
            lanes=charts.utility_lanes(report),
            shortcuts=report.shortcuts[:_SHOWN_SHORTCUTS],
            shortcut_limit=SHORTCUT,
            version=version("icm-service"),
        )
    )


def render_training(found: TrainingReport) -> str:
    """Render the page about a training; it escapes every text from outside."""
    config = found.training.config  # as stored: another release may have accepted what this one refuses
    page = TrainingPage.of(found.report, config)
    template = _environment().get_template("training.html")
    base = found.manifest.get("base") or {}
    named = ", ".join(filter(None, (base.get("name"), (base.get("revision") or base.get("fingerprint") or "")[:12])))
    return template.render(
        training=found.training, config=config, page=page, base=named, version=version("icm-service")
    )


@cache
def content_security_policy() -> str:
    """The page's policy: it may load, run, send and frame nothing; a hash identifies its style."""
    style = _environment().get_template("report.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; {_NOWHERE}"


@cache
def _environment() -> Environment:
    """Read and compile the templates once."""
    environment = Environment(
        loader=PackageLoader("api.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=count, percent=percent, decimals=decimals, duration=duration, feature=name_of, labelling=words_for
    )
    environment.globals.update(scale=charts.scale, ticks=charts.ticks, digits=charts.digits)
    return environment


def count(number: float, noun: str = "") -> str:
    """Format a whole number with separated thousands, and with its noun if there is one."""
    shown = f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{shown} {by_number(round(number), noun, noun + 's')}" if noun else shown


def percent(share: float | None, digits: int = 0) -> str:
    """Format a share of 0 to 1; a dash if unknown."""
    return UNKNOWN if share is None else f"{share * 100:.{digits}f}\N{NARROW NO-BREAK SPACE}%"


def decimals(number: float | None, digits: int = 2) -> str:
    """Format a number with this many digits and a proper minus; a dash if unknown."""
    return UNKNOWN if number is None else f"{number:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: float | None) -> str:
    """Format seconds for people; a dash if unknown."""
    if seconds is None:
        return UNKNOWN
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"
