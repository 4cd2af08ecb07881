"""The command line `icm`; each command is a function in `icm.commands`, whose module is loaded when it is used."""

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version as version_of
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from icm.commands.output import AS_JSON, on_stdout, write_json, write_line

_DISTRIBUTION = "icm-service"
_OURS = frozenset({"icm", "service", "api", "workers", "migrations", "inference"})
_HELP = """Label data sets that nobody has labelled, with a pretrained language model.

Exit codes: 0 done; 1 the job failed or was cancelled; 2 wrong usage; 3 rows or configuration cannot be used (lines
and fields are listed); 4 no answer from the service; 5 the service refused; 6 a part of the service started here
failed; 7 the verdict is one that --fail-on names; 130 interrupted, or a question answered with no."""


@dataclass(frozen=True)
class Entry:
    """A command as the list of all shows it, and the function that it is, or that builds the group that it is."""

    name: str
    module: str
    function: str
    summary: str
    is_group: bool = False
    is_hidden: bool = False

    def listed(self) -> TyperCommand:
        """The command for the list of all."""
        return TyperCommand(self.name, help=self.summary, hidden=self.is_hidden)

    def loaded(self) -> Any:
        """The command itself."""
        found = getattr(self._imported(), self.function)
        if self.is_group:
            return get_command(found())
        alone = typer.Typer(add_completion=False)
        alone.command(self.name)(found)
        return get_command(alone)

    def _imported(self) -> ModuleType:
        try:
            return import_module(f"icm.commands.{self.module}")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] in _OURS:
                raise
            raise import_module("icm.errors").OnlyTheClient(self.name, error.name) from error


# What stands here of a command is the beginning of its own help, which a test compares.
ENTRIES = (
    Entry("serve", "serve", "serve", "Run API, workers, database and inference server until SIGTERM or Ctrl-C."),
    Entry("label", "label", "label", "Label a data set and download it."),
    Entry(
        "estimate",
        "label",
        "estimate",
        "Say what labelling a data set would cost, and show a prompt; nothing is stored.",
    ),
    Entry("convert", "convert", "convert", "Make a published data set into rows that its preset fits."),
    Entry("submit", "submit", "submit", "Create a job on a running service and print its id."),
    Entry("jobs", "jobs", "jobs", "List jobs, newest first; with --json one line for each."),
    Entry("show", "jobs", "show", "Show a job as it is now."),
    Entry("watch", "jobs", "watch", "Follow a job to its end; with --json a line for every change."),
    Entry("result", "jobs", "result", "Download a labelled data set."),
    Entry("report", "jobs", "report", "Say how far a job's labels deserve trust."),
    Entry("pause", "jobs", "pause", "Let a job wait until it is resumed; what workers have begun is saved."),
    Entry("resume", "jobs", "resume", "Let a paused job go on where it stopped."),
    Entry("cancel", "jobs", "cancel", "Ask a job to stop; it keeps the labels found so far."),
    Entry("delete", "jobs", "delete", "Remove a finished job with its rows, labels and report, for good."),
    Entry("train", "trainings", "train", "Train a language model on the labels of finished jobs, and print its id."),
    Entry("trainings", "trainings", "trainings", "List trainings, newest first; with --json one line for each."),
    Entry("adapters", "trainings", "adapters", "Download what a training has trained into a new folder."),
    Entry(
        "models",
        "models",
        "models",
        "List the scoring backends that a configuration can name, with what a probe found; with --json one line for "
        "each.",
    ),
    Entry("audit", "audit", "audit", "Show who did what, the newest first; with --json one line for each."),
    Entry("keys", "keys", "build_group", "API keys: create, list, revoke.", is_group=True),
    Entry("projects", "projects", "build_group", "Projects: list, limit.", is_group=True),
    Entry("webhooks", "webhooks", "build_group", "Webhooks: who is told when a job ends.", is_group=True),
    Entry(
        "serve-private",
        "serve",
        "serve_private",
        "Run every part on free ports for as long as another process lives, and keep nothing.",
        is_hidden=True,
    ),
)


class _Commands(TyperGroup):
    """Loads the command that is used, and turns every expected error into a message and an exit code."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.commands = {entry.name: entry.listed() for entry in ENTRIES}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command that is meant, and load it."""
        name, command, rest = super().resolve_command(ctx, args)
        entry = next((entry for entry in ENTRIES if entry.name == name), None)
        return name, command if entry is None else entry.loaded(), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            failures = import_module("icm.commands.failures")
            if isinstance(error, KeyboardInterrupt | typer.Abort):
                raise typer.Exit(failures.ExitCode.INTERRUPTED) from None
            if not isinstance(error, failures.EXPECTED):
                raise
            raise typer.Exit(failures.report_failure(error, as_json=ctx.meta.get(AS_JSON, False))) from error


def _options(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The version as JSON.")] = False,
) -> None:
    if version:
        _show_version(version_of(_DISTRIBUTION), as_json=as_json)
        raise typer.Exit
    if as_json:
        raise typer.BadParameter("stands behind the command: icm COMMAND --json", param_hint="--json")
    if context.invoked_subcommand is None:
        context.fail("Missing command.")


def _show_version(number: str, *, as_json: bool) -> None:
    if as_json:
        write_json({"version": number})
        return
    write_line(on_stdout(), number)


def build_app() -> typer.Typer:
    """The command line with all its commands."""
    app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True, help=_HELP)(_options)
    return app


def main() -> None:
    """The entry point `icm`."""
    build_app()()
