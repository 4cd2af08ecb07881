"""Fixtures with one training of the small model for all tests of a process, and a way to start others."""

from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch

from tests.support.forked import context
from tests.training.running import Training, run
from tests.training.written import reward_spec, write_spec


@dataclass(frozen=True)
class Finished:
    """An uninterrupted training."""

    spec: Path
    out: Path
    training: Training


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def forks() -> ForkServerContext:
    """A context for processes that have the libraries loaded, without a network."""
    return context()


@pytest.fixture(scope="session")
def finished(forks: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A training with the cheapest control. Tests only read its folder."""
    folder = tmp_path_factory.mktemp("training")
    spec, out = write_spec(folder, controls=["inverted"]), folder / "out"
    status, training = run(forks, spec, out)
    assert status == 0, training.errors.read_text("utf-8")
    return Finished(spec, out, training)


@pytest.fixture(scope="session")
def reward_model(forks: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A reward model that prefers true claims. Tests only read its folder."""
    folder = tmp_path_factory.mktemp("reward")
    spec, out = reward_spec(folder, weights="confidence"), folder / "out"
    status, training = run(forks, spec, out)
    assert status == 0, training.errors.read_text("utf-8")
    return Finished(spec, out, training)
