"""Looks for known vulnerabilities in the pinned packages: `make audit`, part of `make check`.

pip-audit asks OSV (https://osv.dev) about every line of constraints.txt. Its exit status is 1 for a finding and for a
failure alike, so this script tells them apart by what it reports:

    0   nothing is known; or nobody could be asked, which is said aloud
    1   vulnerabilities are known
    2   the audit could not be made, though the service answers; or nobody could be asked and ICM_AUDIT=required is set,
        as CI with a network should
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

OSV_URL = "https://api.osv.dev/v1/query"
PINNED = Path(__file__).parents[1] / "constraints.txt"
FINE, FOUND, NOT_MADE = 0, 1, 2
_PROBE_SECONDS = 10.0
_TAIL_LINES = 5

Report = Sequence[Mapping[str, Any]]  # of each package: name, version, vulns; or why it was skipped


class AuditNotMade(Exception):
    """Nothing can be said about some or all packages."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, say what was found, and give the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.audit", description="Known vulnerabilities of our packages."
    )
    parser.add_argument("--requirements", type=Path, default=PINNED, help="a file with pinned packages")
    parser.add_argument("--osv-url", default=OSV_URL, help="where to ask")
    given = parser.parse_args(arguments)
    packages = pinned(given.requirements)
    if not is_reachable(given.osv_url):
        return _nobody_asked(given.osv_url, given.requirements, len(packages))
    try:
        report = audited(given.requirements, packages, given.osv_url)
    except AuditNotMade as error:
        _say(f"audit: NOT MADE: {error}")
        return NOT_MADE
    findings = list(_findings(report))
    for finding in findings:
        _say(f"audit: {finding}")
    _say(f"audit: {len(report)} packages of {given.requirements.name}, {len(findings)} known vulnerabilities")
    return FOUND if findings else FINE


def pinned(requirements: Path) -> set[str]:
    """The lines that name a package."""
    lines = (line.partition("#")[0].strip() for line in requirements.read_text("utf-8").splitlines())
    return {line for line in lines if line}


def is_reachable(url: str) -> bool:
    """Whether anybody answers there, whatever they say."""
    try:
        httpx.get(url, timeout=_PROBE_SECONDS)
    except httpx.TransportError:
        return False
    return True


def audited(requirements: Path, packages: set[str], url: str) -> Report:
    """What pip-audit reports of every package. Raises AuditNotMade, also where it has left one out."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--osv-url", url, "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    try:
        report: Report = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError) as error:
        told = "\n".join(done.stderr.strip().splitlines()[-_TAIL_LINES:])
        raise AuditNotMade(f"pip-audit ended with status {done.returncode} and this:\n{told}") from error
    skipped = [f"{package['name']}: {package['skip_reason']}" for package in report if "skip_reason" in package]
    if skipped or len(report) != len(packages):
        raise AuditNotMade(f"{len(report)} of {len(packages)} packages were looked at; skipped: {skipped}")
    return report


def _findings(report: Report) -> Iterator[str]:
    for package in report:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no release"
            names = ", ".join([found["id"], *found.get("aliases", [])])
            yield f"{package['name']} {package['version']}: {names}, fixed by {fixed}"


def _nobody_asked(url: str, requirements: Path, packages: int) -> int:
    _say(f"audit: WARNING: {url} cannot be reached, so NOTHING was checked: {packages} packages of {requirements.name}")
    return NOT_MADE if os.environ.get("ICM_AUDIT") == "required" else FINE


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
