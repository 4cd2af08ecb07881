"""Options that several commands share."""

import codecs
import os
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from icm.commands.failures import BadConfigFile, VerdictRefused
from icm.commands.output import AS_JSON
from service.intake.text.strict_json import BadJson, parse
from service.values import nearest


def _remember(context: typer.Context, value: bool) -> bool:  # noqa: FBT001 - typer passes it by position
    context.meta[AS_JSON] = value
    return value


Json = Annotated[
    bool, typer.Option("--json", callback=_remember, help="Print JSON on standard output, and nothing else there.")
]
Url = Annotated[str, typer.Option("--url", envvar="ICM_URL", help="URL of the service.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="ICM_API_KEY",
        help="Your API key. The environment is safer: lists of processes do not show it.",
    ),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")]
Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", exists=True, dir_okay=False, help="Data set: JSONL, CSV, Excel or Parquet, optionally .gz."
    ),
]
Config = Annotated[
    Path, typer.Option("--config", "-c", exists=True, dir_okay=False, help="Configuration of the job, a JSON file.")
]


_ADAPTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+@/-]{0,199}")  # as the embedded inference server takes it
_ADAPTER_FILE = "adapter_config.json"
_GGUF = b"GGUF"  # how such files begin


class FailOn(StrEnum):
    """The mildest verdict that counts as a failure."""

    SUSPICIOUS = "suspicious"
    DO_NOT_USE = "do_not_use"

    def refuses(self, verdict: str) -> bool:
        """Whether this verdict is at least as grave; a verdict of a newer release counts as graver than `ok`."""
        return verdict == FailOn.DO_NOT_USE or (self is FailOn.SUSPICIOUS and verdict != "ok")


Failing = Annotated[
    FailOn | None,
    typer.Option("--fail-on", help="End with exit code 7 if the verdict is this one or a graver one."),
]


def check_verdict(fail_on: FailOn | None, report: Mapping[str, Any]) -> None:
    """Raise VerdictRefused if the caller does not accept the report's verdict."""
    verdict = str(report.get("verdict"))
    if fail_on is not None and fail_on.refuses(verdict):
        raise VerdictRefused(f"the verdict is {verdict}, which --fail-on {fail_on} refuses")


def check_model(model: str | None) -> None:
    """Refuse a language model that is neither a hub name nor an existing one of ours, before any part starts."""
    if model is None:
        return
    path = Path(model)
    must_exist = model.startswith(("/", ".", "~")) or model.count("/") > 1 or model.endswith((".gguf", "/"))
    if path.exists():
        fault = _fault_of_model(path)
    else:
        fault = "there is no such folder or file" + _beside(path) if must_exist else None
    if fault is not None:
        raise typer.BadParameter(f"{model}: {fault}", param_hint="--model")


def _beside(path: Path) -> str:
    """The name in the same folder that somebody meant who mistyped this one."""
    place = path.parent
    names = [one.name for one in place.iterdir()] if place.is_dir() and os.access(place, os.R_OK) else []
    near = nearest(path.name, names)
    return f"; did you mean {place / near[0]}?" if near else ""


def _fault_of_model(path: Path) -> str | None:
    """Why this folder or file holds no language model, as far as a glance shows it."""
    if path.is_file():
        with path.open("rb") as file:
            is_gguf = file.read(len(_GGUF)) == _GGUF
        return None if is_gguf else "this file is no GGUF file; name one, the folder of a model, or a hub name"
    if (path / _ADAPTER_FILE).is_file():
        return "this is an adapter: name its base with --model, and the adapter with --adapter NAME=FOLDER"
    if not (path / "config.json").is_file():
        return "the folder has no config.json, so it is no Hugging Face model; name the folder with that file"
    return None


def read_adapters(given: Sequence[str]) -> dict[str, Path]:
    """The folders of LoRA adapters by name, from `NAME=FOLDER` each.

    Raises typer.BadParameter, before any part starts, for what is wrong without regard to the language model.
    """
    adapters = dict[str, Path]()
    for words in given:
        name, _, path = words.partition("=")
        folder = Path(path).expanduser().absolute()
        if (fault := _fault_of_adapter(name, path, folder)) or name in adapters:
            message = fault or f"{name!r} is given twice; give each adapter a name of its own"
            raise typer.BadParameter(message, param_hint="--adapter")
        adapters[name] = folder
    return adapters


def _fault_of_adapter(name: str, path: str, folder: Path) -> str | None:
    if not (name and path):
        return "give a name and a folder, as in --adapter claims=run/adapter"
    if not _ADAPTER_NAME.fullmatch(name):
        return f"{name!r} is no name for an adapter: a letter or digit, then up to 199 of these, . _ : + @ / and -"
    if name == "default":
        return "'default' is the name of the language model itself; choose another one"
    if not folder.is_dir():
        return f"{path}: there is no such folder"
    if not (folder / _ADAPTER_FILE).is_file():
        return f"{path} has no {_ADAPTER_FILE}: name the folder of an adapter, such as `adapter` of a training's output"
    return None


def read_json(raw: bytes, name: str) -> Any:
    """Parse a JSON text as strictly as the service does. Raises BadConfigFile."""
    try:
        return parse(raw.removeprefix(codecs.BOM_UTF8))
    except BadJson as error:
        raise BadConfigFile(f"{name}: {error}") from error


def read_config(path: Path, *, name: str) -> dict[str, Any]:
    """Read a job's configuration, named after its data if it has no name. Raises BadConfigFile."""
    content = read_json(path.read_bytes(), str(path))
    if not isinstance(content, dict):
        raise BadConfigFile(f"{path}: the configuration must be a JSON object")
    return {"name": name, **content}
