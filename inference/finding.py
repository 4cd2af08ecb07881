"""Finds a language model before any heavy library loads: on this machine, or on the Hugging Face hub.

`python -m inference.finding --model MODEL` ends with status 3 and one sentence if nobody could load it. Whoever starts
a service runs it first: libraries take seconds to load, and ask an unreachable hub again and again without a word.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from difflib import get_close_matches
from pathlib import Path
from threading import Thread
from typing import NoReturn

import structlog
from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)

from inference.logs import configure_logging

MODEL_UNUSABLE = 3  # exit status for a language model that cannot be found or loaded; 1 means any other failure
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_FORBIDDING = (401, 403)  # without a word of the model
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 8.0  # for name resolution, connection and answer together


class ModelMissing(Exception):
    """No language model has this name; the text says where this module looked and what to do."""


def is_path(model: str) -> bool:
    """Whether this cannot be a hub name, which has at most one slash."""
    return model.startswith(("/", ".", "~")) or model.count("/") > 1 or model.endswith((".gguf", "/"))


def find(model: str, say: Callable[[str], None] = lambda _line: None) -> None:
    """Make sure that a folder, file, downloaded model or model of the hub has this name.

    `say` gets a line before the hub is asked. Raises ModelMissing.
    """
    if Path(model).exists():
        return
    if is_path(model):
        raise ModelMissing(f"there is no such folder or file{_beside(Path(model))}")
    if _was_downloaded(model):
        return
    if offline := next((name for name in _OFFLINE if os.environ.get(name, "") not in {"", "0"}), None):
        raise ModelMissing(
            f"there is no such folder here, the model was never downloaded, and {offline} forbids asking the Hugging "
            f"Face hub; {_remedy(model)}, or unset {offline}"
        )
    say(f"looking for {model} on the Hugging Face hub ({constants.ENDPOINT}) ...")
    _ask_the_hub(model)


def _beside(path: Path) -> str:
    """The name in the same folder that a person who has mistyped one meant, or the folder that is missing, too."""
    place = path.expanduser().parent
    if not place.is_dir():
        return f"; the folder {str(place)!r} does not exist either"
    names = [one.name for one in place.iterdir()] if os.access(place, os.R_OK) else []
    near = get_close_matches(path.name, names, 1)
    return f"; did you mean {str(path.parent / near[0])!r}?" if near else ""


def _was_downloaded(model: str) -> bool:
    """Whether weights and configuration are in the hub's cache. Raises ModelMissing for what cannot be a name."""
    try:
        return _has(model, "config.json") and any(_has(model, name) for name in _WEIGHTS)
    except HFValidationError as error:
        raise ModelMissing(
            "there is no such folder or file, and the Hugging Face hub has no such names: name a folder, a GGUF file, "
            "or a model as ORGANISATION/NAME"
        ) from error


def _has(model: str, file: str) -> bool:
    return isinstance(try_to_load_from_cache(model, file), str)


def _remedy(model: str) -> str:
    path = Path(model)
    meant = _beside(path).removeprefix("; ") if "/" in model and path.parent.is_dir() else ""
    if meant:
        return meant
    return f"name a folder or a GGUF file, or run `hf download {model}` where there is a network"


def _ask_the_hub(model: str) -> None:
    """Raise ModelMissing unless the hub has such a language model, and gives it to us."""
    try:
        files = _files(model)
    except GatedRepoError as error:
        raise ModelMissing(
            f"the Hugging Face hub gives this model only to accounts that have accepted its terms: accept them at "
            f"{constants.ENDPOINT}/{model}, then log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelMissing(
            "there is no such folder here and no such model on the Hugging Face hub; look for a mistyped name "
            f"({_remedy(model)}), or, if the model is private, log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        advice = "check HF_TOKEN, log in with `hf auth login`" if status in _FORBIDDING else "try again later"
        message = f"there is no such folder here, and the Hugging Face hub answered with status {status}"
        raise ModelMissing(f"{message}; {advice}, or {_remedy(model)}") from error
    except Exception as error:  # of any HTTP library that the hub's client uses
        why = f"no answer within {_ANSWER_SECONDS:g} s" if isinstance(error, TooLate) else _line(error)
        message = f"there is no such folder here, the model was never downloaded, and {constants.ENDPOINT}"
        raise ModelMissing(f"{message} cannot be reached ({why}); {_remedy(model)}") from error
    if "config.json" not in files:
        gguf = next((name for name in files if name.endswith(".gguf")), None)
        advice = f"download one file, such as {gguf}, and name it" if gguf else "name a language model"
        raise ModelMissing(f"the Hugging Face hub has it without a config.json, so it cannot be loaded; {advice}")


def _files(model: str) -> list[str]:
    """The names of its files on the hub; in a thread, since nothing limits the time of name resolution."""
    answer = Future[list[str]]()

    def ask() -> None:
        try:
            found = HfApi(endpoint=constants.ENDPOINT).model_info(model, timeout=_CONNECT_SECONDS)
            answer.set_result([one.rfilename for one in found.siblings or ()])
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller raises it
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()
    return answer.result(_ANSWER_SECONDS)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def end_without_model(arguments: Sequence[str]) -> None:
    """End the process if the language model of these arguments of `python -m inference` is nowhere to be found."""
    parser = ArgumentParser(add_help=False)
    for option in ("--model", "--log-format"):
        parser.add_argument(option)
    given, _ = parser.parse_known_args(arguments)
    if given.model is None:
        return
    configure_logging("json" if given.log_format == "json" else "console", "INFO")
    log = structlog.get_logger()
    try:
        find(given.model, log.info)
    except ModelMissing as error:
        end_as_unusable(given.model, str(error))


def end_as_unusable(model: str, reason: str) -> NoReturn:
    """Log why the language model cannot be loaded, and end the process."""
    structlog.get_logger().error(f"the language model {model!r} cannot be loaded: {reason}")
    sys.exit(MODEL_UNUSABLE)


if __name__ == "__main__":
    end_without_model(sys.argv[1:])
