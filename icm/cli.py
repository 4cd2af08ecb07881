"""The command line `icm`; each command is a function in `icm.commands`."""

from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from icm.commands import audit, jobs, keys, label, models, projects, serve, submit, webhooks
from icm.commands.failures import EXPECTED, ExitCode, report_failure
from icm.commands.options import AS_JSON
from icm.commands.output import on_stdout, write_json, write_line

_DISTRIBUTION = "icm-service"
_HELP = """Label data sets that nobody has labelled, with a pretrained language model.

Exit codes: 0 done; 1 the job failed or was cancelled; 2 wrong usage; 3 rows or configuration cannot be used (lines
and fields are listed); 4 no answer from the service; 5 the service refused; 6 a part of the service started here
failed; 130 interrupted, or a question answered with no."""

_COMMANDS: tuple[Callable[..., None], ...] = (
    serve.serve,
    label.label,
    label.estimate,
    submit.submit,
    jobs.jobs,
    jobs.show,
    jobs.watch,
    jobs.result,
    jobs.report,
    jobs.pause,
    jobs.resume,
    jobs.cancel,
    jobs.delete,
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
        except (KeyboardInterrupt, typer.Abort):
            raise typer.Exit(ExitCode.INTERRUPTED) from None


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
