"""The operator's settings, read once from the command line."""

from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from inference.adapters.registry import AdapterLimits
from inference.model.language_model import DTYPES, DtypeName

SMALL_MODEL = Path(__file__).parent / "small_model"
_LAST_PORT = 65535
LogFormat = Literal["console", "json"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server."""

    max_concurrent_requests: int = 128
    max_top_n_tokens: int = 1000
    max_stop_sequences: int = 4
    max_body_bytes: int = 32 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the command line; None leaves the choice to the server."""

    model: str
    host: str
    port: int
    device: str
    dtype: DtypeName
    max_concurrent_requests: int
    max_top_n_tokens: int
    cache_tokens: int | None
    pack_tokens: int | None
    threads: int | None
    adapter: Sequence[tuple[str, Path]]
    adapter_folder: Path | None
    max_adapter_rank: int
    max_adapters: int
    log_format: LogFormat
    log_level: str
    allowed_hosts: tuple[str, ...] = ()

    @property
    def adapter_limits(self) -> AdapterLimits:
        """The limits on adapters."""
        return AdapterLimits(self.adapter_folder, self.max_adapter_rank, self.max_adapters)

    @property
    def limits(self) -> Limits:
        """The server's limits."""
        return Limits(self.max_concurrent_requests, self.max_top_n_tokens)


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Read the command line; --help and mistakes end the process."""
    parser = ArgumentParser(
        prog="python -m inference",
        description="Serve next-token log-probabilities of a causal language model.",
        formatter_class=ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", default=str(SMALL_MODEL), help="folder, GGUF file or hub name")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_port, default=8080, help="0 chooses a free one")
    parser.add_argument(
        "--allowed-hosts",
        type=_names,
        default=(),
        metavar="NAMES",
        help="its host names, such as gpu.example.com,*.example.org; *: any (numeric ones always work)",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 ...; auto uses a GPU if there is one")
    parser.add_argument(
        "--dtype", choices=["auto", *DTYPES], default="auto", help="auto: float32 on the CPU; mixed: see docs"
    )
    parser.add_argument("--log-format", choices=get_args(LogFormat), default="console", help="form of the logs")
    parser.add_argument("--log-level", default="INFO", help="lowest level to log")
    _add_limits(parser)
    _add_adapters(parser)
    return Settings(**vars(parser.parse_args(arguments)))


def _add_limits(parser: ArgumentParser) -> None:
    limits = Limits()
    parser.add_argument(
        "--max-concurrent-requests", type=_positive, default=limits.max_concurrent_requests, help="beyond: refused"
    )
    parser.add_argument(
        "--max-top-n-tokens",
        type=_positive,
        default=limits.max_top_n_tokens,
        help="maximum of likeliest tokens in a reply",
    )
    parser.add_argument("--cache-tokens", type=_positive, help="capacity of the prefix cache in tokens (512 MiB)")
    parser.add_argument("--pack-tokens", type=_positive, help="maximum of tokens in one forward pass (512; GPU 2048)")
    parser.add_argument("--threads", type=_positive, help="CPU threads (one for each core)")


def _add_adapters(parser: ArgumentParser) -> None:
    limits = AdapterLimits()
    parser.add_argument(
        "--adapter",
        type=_adapter,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a LoRA adapter in PEFT's format, under this name for requests; repeat for several",
    )
    parser.add_argument(
        "--adapter-folder",
        type=Path,
        metavar="FOLDER",
        help="let whoever can connect load and unload adapters below it at run time",
    )
    parser.add_argument("--max-adapter-rank", type=_positive, default=limits.max_rank, help="beyond: refused")
    parser.add_argument(
        "--max-adapters", type=_positive, default=limits.max_adapters, help="maximum of loaded adapters"
    )


def _adapter(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if not (name and folder):
        raise ArgumentTypeError(f"{text!r} is not of the form NAME=FOLDER")
    return name, Path(folder)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _port(text: str) -> int:
    number = _whole(text)
    if number is None or not 0 <= number <= _LAST_PORT:
        raise ArgumentTypeError(f"{text!r} is no port; ports are numbers from 0 to {_LAST_PORT}")
    return number


def _positive(text: str) -> int:
    number = _whole(text)
    if number is None or number < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return number


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
