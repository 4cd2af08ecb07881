"""The command line `icm`; each command is a function in `icm.commands`."""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from icm.commands import audit, jobs, keys, label, models, projects, serve, webhooks
from icm.commands.failures import EXPECTED, ExitCode, report_failure
from icm.commands.options import AS_JSON

_HELP = """Label data sets that nobody has labelled, with a pretrained language model.

Exit codes: 0 done; 1 the job failed or was cancelled; 2 wrong usage; 3 rows or configuration cannot be used (lines
and fields are listed); 4 no answer from the service; 5 the service refused; 6 a part of the service started here
failed; 130 interrupted."""

_COMMANDS: tuple[Callable[..., None], ...] = (
    serve.serve,
    label.label,
    label.estimate,
    jobs.jobs,
    jobs.watch,
    jobs.result,
    jobs.report,
    jobs.pause,
    jobs.resume,
    jobs.cancel,
    models.models,
    audit.audit,
)


class _Commands(TyperGroup):
    """Turns every expected error into a message and an exit code, in one place."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except EXPECTED as error:
            raise typer.Exit(report_failure(error, as_json=ctx.meta.get(AS_JSON, False))) from error
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None


def build_app() -> typer.Typer:
    """The command line with all its commands."""
    app = typer.Typer(
        cls=_Commands, help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
    for command in _COMMANDS:
        app.command()(command)
    app.add_typer(keys.build_group(), name="keys")
    app.add_typer(projects.build_group(), name="projects")
    app.add_typer(webhooks.build_group(), name="webhooks")
    app.command(hidden=True)(serve.serve_private)
    return app


def main() -> None:
    """The entry point `icm`."""
    build_app()()
