"""A run from its specification to its report. Each finished part leaves a file and does not run again."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from training.artifacts import MANIFEST, REPORT, SCORES, artifact_folder, content_hash, manifest, publish, publish_kept
from training.base import device_of, find_base
from training.errors import FolderTaken, Refused
from training.kinds import label_training, reward_training
from training.optimisation.bench import Bench
from training.optimisation.files import sha256_of, write_json
from training.optimisation.stage import Stage, log_if_finished, train
from training.optimisation.watcher import Log
from training.policy import policy_training
from training.policy.reward_models import FinishedRewardModel, find_reward_models
from training.progress import Progress
from training.reporting import peak_memory, polarity, summary
from training.scores import Scored, scores_entry, write_scores
from training.spec import Control, Kind, read_spec
from training.supervision import LOCK, StopRequest

IDENTITY = "run.json"  # the specification of the folder's run
_PARTS, _CHECKPOINTS = "parts", "checkpoints"
_PATHS = ("base", "examples", "score")  # the content of these paths counts, not their place


class Training(Protocol):
    """A kind of training over checked rows."""

    def facts(self) -> dict[str, Any]:
        """The numbers of rows, and a digest of everything that a training may learn from."""

    def before(self) -> dict[str, Any]:
        """The base's evaluation on held-out rows."""

    def stage(self) -> Stage:
        """Run the training itself."""

    def control(self, control: Control) -> Stage:
        """Run a control."""

    def scores(self, module: Any) -> Scored | None:
        """The trained language model's scores of the further rows; None without such rows."""


_PREPARED: Mapping[Kind, Callable[[Bench, Path], Training]] = {
    Kind.LABEL: label_training.prepare,
    Kind.REWARD: reward_training.prepare,
}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line beside the specification."""

    out: Path
    download: bool = False


def run(spec_file: Path, options: Options, progress: Progress, stop: StopRequest) -> None:
    """Run the unfinished parts of the run; the caller has locked the folder. Raises TrainingError."""
    spec = read_spec(spec_file)
    base = find_base(spec.base, spec_file.parent, download=options.download)
    models = find_reward_models(spec, spec_file.parent)
    bench = Bench(spec, base, device_of(spec.device), spec_file.parent, options.out, progress, stop)
    examples = bench.file(spec.examples)
    if bench.is_first:
        hashes = {f"policy.{field}": model.sha256 for field, model in models.items()}
        _claim(options.out, {**_identity(bench, examples), **hashes})
    if not (options.out / MANIFEST).exists():
        _do(bench, _prepared(bench, examples, models))
    if bench.is_first:
        _tell_end(bench)


def _prepared(bench: Bench, examples: Path, models: Mapping[str, FinishedRewardModel]) -> Training:
    if bench.spec.kind is Kind.POLICY:
        return policy_training.prepare(bench, examples, models)
    return _PREPARED[bench.spec.kind](bench, examples)


def _do(bench: Bench, training: Training) -> None:
    """Run every part in order. The report and then the manifest are the last files to appear."""
    facts = training.facts()
    bench.progress.tell("rows", **facts, device=str(bench.device), base=bench.base.identity)
    before = _part(bench, "before", training.before)
    bench.progress.tell("evaluation", stage="before", epoch=0, **before)
    stage = training.stage()
    after = _part(bench, "training", lambda: _train(bench, training, stage))
    published = {"after": _part(bench, "after", stage.extras.after)} if stage.extras.after else {}
    controls = {
        str(control): _part(bench, control, partial(_control, bench, training.control(control)))
        for control in bench.spec.controls
    }
    if not bench.is_first:
        return
    report: dict[str, Any] = {"kind": bench.spec.kind, "rows": facts, "before": before, "training": after}
    report |= {**published, "controls": controls}
    if "scored" in after:
        report["scored"] = after.pop("scored")
    if inverted := controls.get(Control.INVERTED):
        report["polarity"] = polarity(after, inverted)
    write_json(bench.folder / REPORT, report)
    write_json(bench.folder / MANIFEST, manifest(bench, facts))
    shutil.rmtree(bench.folder / _CHECKPOINTS, ignore_errors=True)


def _part(bench: Bench, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of a part, computed now or read from its file."""
    file = bench.folder / _PARTS / f"{name}.json"
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return found
    bench.stop.check()
    made = make()
    if bench.is_first:
        file.parent.mkdir(exist_ok=True)
        write_json(file, made)
        bench.checkpoints(name).clear()
    return made


def _train(bench: Bench, training: Training, stage: Stage) -> dict[str, Any]:
    """Run the training itself: its outcome is the language model at its end, or the best of the saved adapters."""
    if stage.extras.chosen is None:
        trainer = train(bench, stage)
        log: Log = trainer.state.log_history
        scored = _publish_with_scores(bench, training, trainer.accelerator.unwrap_model(trainer.model))
    else:
        log, scored = log_if_finished(bench, stage) or train(bench, stage).state.log_history, {}
        chosen = stage.extras.chosen(log)
        if bench.is_first:
            publish_kept(chosen, bench)
    return {**summary(log, stage.extras.figures), "peak_memory": peak_memory(), **scored}


def _publish_with_scores(bench: Bench, training: Training, module: Any) -> dict[str, Any]:
    """Publish the language model, and its scores of further rows if the specification names some."""
    scored = training.scores(module)
    if bench.is_first:
        publish(module, bench)
    if scored is None:
        return {}
    if bench.is_first:
        write_scores(bench.folder / SCORES, scored)
    return {"scored": {"rows": len(scored.ids), "tokens": scored.tokens}}


def _control(bench: Bench, stage: Stage) -> dict[str, Any]:
    """Run a control; keep only its numbers."""
    return summary(log_if_finished(bench, stage) or train(bench, stage).state.log_history)


def _identity(bench: Bench, examples: Path) -> dict[str, Any]:
    """The settings and files that must be the same to resume a run. Raises Refused without rows."""
    files = {"examples": examples, **({"score": bench.file(bench.spec.score)} if bench.spec.score else {})}
    for field, file in files.items():
        if not file.is_file():
            raise Refused(f"{field}: there is no file {str(file)!r}")
    settings = {name: value for name, value in bench.spec.without_folders.items() if name not in _PATHS}
    return {"base": bench.base.fingerprint, **{name: sha256_of(file) for name, file in files.items()}, **settings}


def _claim(folder: Path, identity: Mapping[str, Any]) -> None:
    """Claim the folder for this run. Raises FolderTaken, with the differing fields, if it belongs to another."""
    file = folder / IDENTITY
    if not file.exists():
        if foreign := sorted(path.name for path in folder.iterdir() if path.name != LOCK and not _is_ours(path)):
            raise FolderTaken(
                f"the folder {str(folder)!r} holds other files ({foreign[0]!r}); name an empty or new one"
            )
        write_json(file, identity)
        return
    earlier = json.loads(file.read_text("utf-8"))
    if changed := sorted(name for name in {*earlier, *identity} if earlier.get(name) != identity.get(name)):
        raise FolderTaken(
            f"the folder {str(folder)!r} holds a training with other settings ({', '.join(changed)}); "
            "name another folder, or restore them to go on"
        )


def _is_ours(path: Path) -> bool:
    """Whether an interrupted start has left this file."""
    return path.name == f".{IDENTITY}.partial"


def _tell_end(bench: Bench) -> None:
    """Report the artifact. Raises Refused if its content has changed."""
    recorded = json.loads((bench.folder / MANIFEST).read_text("utf-8"))
    made, folder = recorded["artifact"], artifact_folder(bench)
    is_whole = {
        made["folder"]: folder.is_dir() and content_hash(folder) == made["sha256"],
        SCORES: recorded.get("scores") == scores_entry(bench.folder / SCORES).get("scores"),
    }
    for name in (name for name, whole in is_whole.items() if not whole):
        raise Refused(f"{name!r} in {str(bench.folder)!r} is not as it was written; train again in another folder")
    bench.progress.tell("end", outcome="finished", artifact=made["folder"], sha256=made["sha256"])
