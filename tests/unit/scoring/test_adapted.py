"""A finished training is a model: servers load its adapter while they run, or say in one sentence why they cannot."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.errors import AdapterRefused
from service.identifiers import Row
from service.ports.scoring import Scorer
from service.records.adapters import TrainedAdapter
from service.scoring.adapted import adapted
from service.scoring.deterministic import DeterministicScorer
from service.scoring.kinds import KINDS
from service.scoring.prompts import PromptScorer
from service.scoring.registry import ConfiguredScorers
from service.scoring.replicas import ReplicatedScorer
from service.scoring.wires.adapters import LoadableAdapter
from service.scoring.wires.kind import Kind
from service.search.predictions.prompt_tree import PromptTree, Query
from tests.servers.adapters import Waits, fake_of, rig_of, wire_of
from tests.servers.connections import serving
from tests.servers.language_model import ToyLanguageModel, ToyTokenizer
from tests.servers.loras import Loras
from tests.servers.sglang import FakeSglang
from tests.servers.vllm import FakeVllm
from tests.unit.scoring.trained import files_in, stored

Fake = FakeVllm | FakeSglang
LABELS = ("True", "False")
TREE = PromptTree("51 is larger than 12. True\n\n", tuple(Query(Row(n), f"{n} is larger than 7.") for n in range(3)))
FAKES: dict[str, Callable[..., Fake]] = {"vllm": FakeVllm, "sglang": FakeSglang}


@pytest.fixture(params=sorted(FAKES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def fake(kind: str, **options: Any) -> tuple[Fake, Loras]:
    loras = Loras(**options)
    return FAKES[kind](loras=loras), loras


@asynccontextmanager
async def scorer_of(kind: str, server: Any) -> AsyncIterator[Scorer]:
    async with rig_of(kind, server) as rig:
        yield rig.scorer


async def scores(scorer: Scorer) -> list[tuple[float, ...]]:
    found = await scorer.score(TREE, LABELS)
    return [found.log_probabilities[Row(number)] for number in range(3)]


async def test_a_trained_adapter_is_loaded_once_and_scores_as_itself(kind: str, place: Path) -> None:
    server, loras = fake(kind)
    one, two = await stored(place, rank=4, number=1), await stored(place, rank=8, number=2)
    async with scorer_of(kind, server) as base:
        ours = {each.sha256: adapted("default", base, LoadableAdapter(each, files_in(place))) for each in (one, two)}
        told = {name: await scores(scorer) for name, scorer in ours.items()}
        assert told == {name: await scores(scorer) for name, scorer in ours.items()}
        assert len({str(each) for each in (*told.values(), await scores(base))}) == 3
        assert loras.loads == 2
        assert sorted(loras.loaded) == sorted(ours)


async def test_base_and_adapters_differ_in_fingerprint_and_canary(kind: str, place: Path) -> None:
    server, _ = fake(kind)
    adapters = [await stored(place, rank=rank, number=rank) for rank in (4, 8)]
    async with scorer_of(kind, server) as base:
        scorers = [base, *(adapted("default", base, LoadableAdapter(each, files_in(place))) for each in adapters)]
        found = [await scorer.identify() for scorer in scorers]
        assert len({identity.fingerprint for identity in found}) == len({identity.canary for identity in found}) == 3
        assert all(each.sha256 in identity.fingerprint for each, identity in zip(adapters, found[1:], strict=True))
        info = await scorers[1].probe(LABELS)
        assert (info.ready, info.problems) == (True, ())


async def test_another_base_under_the_same_name_is_another_identity(kind: str, place: Path) -> None:
    server, loras = fake(kind)
    async with scorer_of(kind, server) as base:
        scorer = adapted("default", base, LoadableAdapter(await stored(place), files_in(place)))
        before = await scorer.identify()

        def becomes_another() -> None:
            server.model = ToyLanguageModel(ToyTokenizer(), seed=7)
            loras.loaded.clear()
            loras.adapted = lambda base, name: ToyLanguageModel(ToyTokenizer(), seed=9 if name else 7)  # type: ignore[method-assign]

        server.successor = becomes_another
        server.restart()
        after = await scorer.identify()
        assert before.fingerprint == after.fingerprint
        assert not before.agrees_with(after)


async def test_the_probe_of_a_trained_adapter_names_a_server_of_another_kind(place: Path) -> None:
    async def detect() -> Kind | None:
        return KINDS["sglang"].of_kind

    async with serving(fake("vllm")[0]) as url:
        base = PromptScorer("default", wire_of("vllm", url), Waits().executor(), detect=detect)
        found = await base.adapted(LoadableAdapter(await stored(place), files_in(place))).probe(LABELS)
        await base.close()
    [problem] = found.problems
    assert "`kind` to 'sglang'" in problem


async def test_a_server_that_has_lost_an_adapter_gets_it_again_in_the_middle_of_a_job(kind: str, place: Path) -> None:
    server, loras = fake(kind)
    async with scorer_of(kind, server) as base:
        scorer = adapted("default", base, LoadableAdapter(await stored(place), files_in(place)))
        before = await scores(scorer)
        loras.loaded.clear()
        server.forget_prefixes()
        assert await scores(scorer) == before
        assert loras.loads == 2


async def test_the_server_gets_the_folder_as_it_sees_it(kind: str, place: Path) -> None:
    server, loras = fake(kind, folder="/mnt/adapters", of_service=str(place))
    async with scorer_of(kind, server) as base:
        adapter = await stored(place)
        await adapted("default", base, LoadableAdapter(adapter, files_in(place), "/mnt/adapters")).identify()
        assert loras.loaded == {adapter.sha256: f"/mnt/adapters/{adapter.training_id}/{adapter.sha256}"}


REFUSALS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("vllm", {"at_run_time": False}, {}, r"vLLM loads no adapters while it runs; .*VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
    ("vllm", {"max_rank": 8}, {"rank": 16}, r"its rank is 16, and vLLM takes 8; launch vLLM with --max-lora-rank 16"),
    ("vllm", {"folder": "/elsewhere"}, {}, r"vLLM does not find the folder .*; .* adapter_folder"),
    ("vllm", {}, {"base": "other"}, r"trained on other \(f+\), and the backend 'default' now serves toy"),
    ("sglang", {"at_run_time": False}, {}, r"SGLang loads no adapters; launch it with --enable-lora"),
    ("sglang", {"max_rank": 8}, {"rank": 16}, r"SGLang says: .* with rank 16 .* `--max-lora-rank`"),
    ("sglang", {"folder": "/elsewhere"}, {}, r"SGLang says: Failed to load LoRA adapter"),
    ("sglang", {}, {"base": "other"}, r"trained on other \(f+\), and the backend 'default' now serves toy/model"),
]


@pytest.mark.parametrize(("kind", "launched", "trained", "why"), REFUSALS)
async def test_a_server_that_cannot_serve_an_adapter_says_why(
    kind: str, launched: dict[str, Any], trained: dict[str, Any], why: str, place: Path
) -> None:
    server, _ = fake(kind, **launched)
    async with scorer_of(kind, server) as base:
        scorer = adapted("default", base, LoadableAdapter(await stored(place, **trained), files_in(place)))
        with pytest.raises(AdapterRefused, match=rf"^the training train_0+1 cannot be served: .*{why}"):
            await scorer.identify()
        assert (await base.identify()).canary, "the base goes on"


async def test_without_loras_vllm_and_sglang_say_how_to_launch_them(kind: str, place: Path) -> None:
    async with scorer_of(kind, FAKES[kind]()) as base:
        scorer = adapted("default", base, LoadableAdapter(await stored(place), files_in(place)))
        with pytest.raises(AdapterRefused, match="--enable-lora"):
            await scorer.identify()


async def test_files_that_are_gone_or_have_changed_are_not_served(kind: str, place: Path) -> None:
    server, loras = fake(kind)
    adapter = await stored(place)
    (place / adapter.training_id / adapter.sha256 / "adapter_config.json").write_text("{}")
    async with scorer_of(kind, server) as base:
        for trained, why in ((adapter, "not as they were stored"), (replace(adapter, sha256="0" * 64), "not where")):
            scorer = adapted("default", base, LoadableAdapter(trained, files_in(place)))
            with pytest.raises(AdapterRefused, match=f"{why}.*; train it again"):
                await scorer.identify()
    assert loras.loads == 0


@pytest.mark.parametrize(("kind", "instead"), [("tgi", "merge the adapter"), ("llamacpp", "convert the adapter")])
async def test_servers_that_load_no_adapters_at_run_time_name_the_alternative(
    kind: str, instead: str, place: Path
) -> None:
    adapter = LoadableAdapter(await stored(place), files_in(place))
    async with rig_of(kind, fake_of(kind)) as rig:
        with pytest.raises(AdapterRefused, match=f"loads no adapters while it runs; {instead}"):
            adapted("default", rig.scorer, adapter)
        replicas = ReplicatedScorer("default", [rig.scorer, rig.scorer])
        with pytest.raises(AdapterRefused, match="loads no adapters while it runs"):
            adapted("default", replicas, adapter)


async def test_every_replica_loads_the_adapter(kind: str, place: Path) -> None:
    (one, first), (two, second) = fake(kind), fake(kind)
    async with scorer_of(kind, one) as left, scorer_of(kind, two) as right:
        both = ReplicatedScorer("default", [left, right])
        scorer = adapted("default", both, LoadableAdapter(await stored(place), files_in(place)))
        await scorer.identify()
        assert len(first.loaded) == len(second.loaded) == 1
        assert await scores(scorer) != await scores(both)


async def test_an_adapter_is_served_by_the_backend_of_its_base_alone(place: Path) -> None:
    server, _ = fake("vllm")
    adapter = await stored(place)

    def loadable(trained: TrainedAdapter) -> LoadableAdapter:
        return LoadableAdapter(trained, files_in(place))

    async with scorer_of("vllm", server) as base:
        scorers = ConfiguredScorers(
            {"twin": DeterministicScorer(), "default": base}, loadables={"twin": loadable, "default": loadable}
        )
        assert scorers.adapted(adapter) is scorers.adapted(replace(adapter))
        assert await scores(scorers.adapted(adapter)) != await scores(base)
        for backend, why in (("gone", "started from 'gone', and no backend"), ("twin", "'twin' has no server")):
            with pytest.raises(AdapterRefused, match=why):
                scorers.adapted(replace(adapter, backend=backend))
