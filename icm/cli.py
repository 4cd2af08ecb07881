"""The command line `icm`. Each command is a function in `icm.commands`; using it loads its module."""

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

Exit codes: 0 done; 1 the job failed or was cancelled; 2 wrong usage; 3 the service cannot use rows or configuration
(the message lists lines and fields); 4 no answer from the service; 5 the service refused; 6 a part of the service
started here failed; 7 --fail-on refuses the verdict; 130 interrupted, or you answered a question with no."""


@dataclass(frozen=True)
class Entry:
    """A command or group: its name, the module with the function of that name or with `build_group`, its summary."""

    name: str
    module: str
    summary: str
    is_group: bool = False
    is_hidden: bool = False

    def listed(self) -> TyperCommand:
        """The command as the help lists it, without its module."""
        return TyperCommand(self.name, help=self.summary, hidden=self.is_hidden)

    def loaded(self) -> Any:
        """The command with its module."""
        module = self._imported()
        if self.is_group:
            return get_command(module.build_group())
        alone = typer.Typer(add_completion=False)
        alone.command(self.name)(getattr(module, self.name.replace("-", "_")))
        return get_command(alone)

    def _imported(self) -> ModuleType:
        try:
            return import_module(f"icm.commands.{self.module}")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] in _OURS:
                raise
            raise import_module("icm.errors").OnlyTheClient(self.name, error.name) from error


# A summary is the beginning of the command's help; a test compares the two.
ENTRIES = (
    Entry("serve", "serve", "Run API, workers, database and inference server until SIGTERM or Ctrl-C."),
    Entry("label", "label", "Label a data set and download it."),
    Entry("estimate", "label", "Estimate the cost of labelling a data set and show a prompt; store nothing."),
    Entry("convert", "convert", "Convert a published data set into rows for its preset."),
    Entry("submit", "submit", "Create a job on a running service and print its id."),
    Entry("jobs", "jobs", "List jobs, newest first; --json prints one line for each."),
    Entry("show", "jobs", "Show the present state of a job or a training."),
    Entry("watch", "jobs", "Follow a job or a training to its end; --json prints a line for every change."),
    Entry("result", "jobs", "Download a labelled data set."),
    Entry("report", "jobs", "Show how far you can trust a job's labels, or what a training learned."),
    Entry("pause", "jobs", "Pause a job or training until somebody resumes it; workers save their current steps."),
    Entry("resume", "jobs", "Resume a paused job or training from its last checkpoints."),
    Entry("cancel", "jobs", "Cancel a job, which keeps its labels so far, or a training."),
    Entry("delete", "jobs", "Delete a finished job or training with all that belongs to it, for good."),
    Entry("train", "trainings", "Train a language model on finished jobs; print the training's id."),
    Entry("trainings", "trainings", "List trainings, newest first; --json prints one line for each."),
    Entry("adapters", "trainings", "Download the files of a finished training into a new folder."),
    Entry("score", "rewards", "Score the texts of a file by a reward model; print each row with its score."),
    Entry(
        "reward-labels",
        "rewards",
        "Search labels for a part of the pairs, train a reward model on them, label the rest by it, train a final one.",
    ),
    Entry(
        "models",
        "models",
        "List the scoring backends for configurations, with the findings of a probe; --json prints one line for each.",
    ),
    Entry("audit", "audit", "Show the audit log, newest first: who did what; --json prints one line for each."),
    Entry("keys", "keys", "Create, list and revoke API keys.", is_group=True),
    Entry("projects", "projects", "List projects and limit them.", is_group=True),
    Entry("webhooks", "webhooks", "Manage webhooks, which notify an address when a job ends.", is_group=True),
    Entry(
        "serve-private",
        "serve",
        "Run every part on free ports while another process lives, and keep nothing.",
        is_hidden=True,
    ),
)


class _Commands(TyperGroup):
    """Load the command on use, and turn every expected error into a message and an exit code."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.commands = {entry.name: entry.listed() for entry in ENTRIES}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command by its name, and load it."""
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
            failures.in_plain_words(error)
            if not isinstance(error, failures.EXPECTED) or isinstance(error, BrokenPipeError):
                raise  # typer ends quietly where the reader of a pipe has left
            raise typer.Exit(failures.report_failure(error, as_json=ctx.meta.get(AS_JSON, False))) from error


def _options(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Show the version as JSON.")] = False,
) -> None:
    if version:
        _show_version(version_of(_DISTRIBUTION), as_json=as_json)
        raise typer.Exit
    if as_json:
        raise typer.BadParameter("put --json behind the command: icm COMMAND --json", param_hint="--json")
    if context.invoked_subcommand is None:
        context.fail("Missing command.")


def _show_version(number: str, *, as_json: bool) -> None:
    if as_json:
        write_json({"version": number})
        return
    write_line(on_stdout(), number)


def build_app() -> typer.Typer:
    """Build the command line with all its commands."""
    app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True, help=_HELP)(_options)
    return app


def main() -> None:
    """Run `icm`."""
    build_app()()
