"""The command that converts a published data set into rows for its preset."""

import json
from pathlib import Path
from typing import Annotated

import typer

from icm.commands.jobs import check_folder, check_other_file
from icm.commands.options import Json
from icm.commands.output import on_stdout, write_json, write_line
from icm.data.conversion import Published, converted
from icm.data.files import saved
from service.values import counted

_Preset = Annotated[Published, typer.Argument(metavar="PRESET", help="Preset: truthfulqa or gsm8k.")]
_File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Published file: TruthfulQA.csv, or GSM8K's example_model_solutions.jsonl.",
    ),
]


def convert(
    preset: _Preset,
    file: _File,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the rows; its name ends in .jsonl.")],
    *,
    as_json: Json = False,
) -> None:
    """Convert a published data set into rows for its preset."""
    if output.suffix.lower() != ".jsonl":
        raise typer.BadParameter(
            f"{output}: the command writes JSON lines; use the ending .jsonl", param_hint="--output"
        )
    check_folder(output, "--output")
    check_other_file(output, {"the published file itself": file}, "--output")
    rows, questions = 0, set[str]()
    with saved(output) as written:
        for row in converted(preset, file):
            written.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            rows += 1
            questions.add(row["question"])
    if as_json:
        write_json({"output": str(output), "rows": rows, "questions": len(questions)})
        return
    write_line(on_stdout(), f"{output}: {counted(rows, 'row')} about {counted(len(questions), 'question')}")
