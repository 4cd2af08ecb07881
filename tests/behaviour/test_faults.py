"""Every adapter over a server with planned faults: the right scores or an error, never a made-up number."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from inference.app import create_app
from inference.engine import CacheLimits, Engine
from inference.model.language_model import LanguageModel
from inference.settings import Limits
from service.errors import BackendError, BackendRefused, BackendUnavailable, LabelUnreachable
from service.identifiers import Row
from service.search.predictions.prompt_tree import PromptTree, Query, TreeScores
from tests.servers.adapters import Rig, fake_of, rig_of
from tests.servers.asking import KINDS
from tests.servers.fake import FakeServer
from tests.servers.faults import PASSING, RETRY_AFTER_SECONDS, WITH_RETRY_AFTER, Fault, Plan
from tests.servers.language_model import ToyLanguageModel, ToyTokenizer
from tests.servers.proxy import FaultyEmbedded
from tests.servers.truth import own_scores
from tests.support.inference.served import served
from tests.support.inference.tiny import engine_of, llama, train_tokenizer

LABELS = ("True", "False")
CITIES = ["Paris", "Rome", "Oslo", "Lima", "Spain", "Italy", "Norway", "Peru", "France"]
QUERIES = tuple(Query(Row(number), f"{CITIES[number]} is in {CITIES[-number]}.") for number in range(8))
MORE = PromptTree(
    "Oslo is in Norway. True\n\n", (Query(Row(20), "Lima is in Peru."), Query(Row(21), "Rome is in Italy."))
)
BEGINNING = "Paris is in France. True\n\nRome is in Spain. False\n\n"
TREE = PromptTree(BEGINNING, QUERIES, (MORE,))
FEW = PromptTree(BEGINNING, QUERIES[:2], (MORE,))
UNFINISHED = frozenset({"vllm", "sglang"})  # kinds that can say so within a good answer
COUNTING = frozenset({"vllm", "sglang", "llamacpp"})  # kinds that tell how long the prompt was that they read
IMPOSSIBLE = [Fault.NULL_VALUES, Fault.NAN_VALUES, Fault.POSITIVE_VALUES, Fault.OTHER_FORM, Fault.ABORTED]
PATIENT = 1e6  # seconds
SHORT_SECONDS = 0.5

Scores = dict[Row, tuple[float, ...]]
adapters = pytest.mark.parametrize("kind", [*KINDS, "embedded"])


@pytest.fixture(scope="module")
def embedded_url() -> Iterator[str]:
    """The embedded server over a tiny language model."""
    with served(create_app(engine_of(llama()), Limits())) as url:
        yield url


@pytest.fixture(scope="module")
def other_embedded_url() -> Iterator[str]:
    """The same with other weights, which the server names by their checksum."""
    language_model = LanguageModel(llama(seed=1), train_tokenizer(), "tiny", sha="1")
    with served(create_app(Engine(language_model, CacheLimits(4096, 64)), Limits())) as url:
        yield url


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> FakeServer:
    """A server of the kind that the test is about."""
    if kind == "embedded":
        return FaultyEmbedded(request.getfixturevalue("embedded_url"))
    return fake_of(kind)


def tree_for(rig: Rig) -> PromptTree:
    """SGLang takes eight queries behind one beginning in one call; the others take them one by one."""
    return TREE if rig.server.kind == "sglang" else FEW


async def scored(rig: Rig, tree: PromptTree | None = None) -> TreeScores:
    return await rig.scorer.score(tree or tree_for(rig), LABELS)


async def clean(rig: Rig, tree: PromptTree | None = None) -> Scores:
    """The scores without faults: those of the toy language model, or of a call before anything fails."""
    if rig.server.kind in KINDS:
        return {
            row: tuple(values) for row, values in own_scores(rig.server.model, tree or tree_for(rig), LABELS).items()
        }
    return dict((await scored(rig, tree)).log_probabilities)


def assert_same(found: TreeScores, expected: Scores, plan: Plan) -> None:
    assert set(found.log_probabilities) == set(expected)
    for row, values in expected.items():
        assert found.log_probabilities[row] == pytest.approx(values, abs=1e-5), str(plan)


def attempts(server: FakeServer) -> int:
    """How often the most frequent call was made."""
    return max(Counter(seen.raw for seen in server.scored).values())


THOROUGH = ("vllm", "embedded")  # one kind of either scorer meets most faults by themselves, the others a storm of them
BY_THEMSELVES = [
    *(
        ("vllm", fault)
        for fault in (
            Fault.OVERLOADED_SECONDS,
            Fault.FAILED,
            Fault.BAD_GATEWAY,
            Fault.UNAVAILABLE_DATE,
            Fault.RESET_BEFORE,
            Fault.RESET_WITHIN,
            Fault.MALFORMED,
            Fault.ABORTED,
        )
    ),
    *(("embedded", fault) for fault in (Fault.OVERLOADED, Fault.UNAVAILABLE_SECONDS, Fault.RESET_WITHIN, Fault.EMPTY)),
]


def passing(kind: str) -> list[Fault]:
    """Faults that another attempt overcomes, except silence, which takes time."""
    return [
        fault for fault in PASSING if fault is not Fault.SILENT and (fault is not Fault.ABORTED or kind in UNFINISHED)
    ]


@pytest.mark.parametrize(("kind", "fault"), BY_THEMSELVES)
async def test_a_fault_that_passes_leaves_no_trace_in_the_scores(kind: str, fault: Fault, server: FakeServer) -> None:
    plan = Plan.once(fault)
    async with rig_of(kind, server, patience_seconds=PATIENT) as rig:
        expected = await clean(rig)
        server.plan_from_now(plan)
        assert_same(await scored(rig), expected, plan)
    assert any(seen.fault is fault for seen in server.scored)
    assert 2 <= attempts(server) <= 4
    if fault in WITH_RETRY_AFTER:
        assert max(rig.waits.slept) >= RETRY_AFTER_SECONDS - 1


@adapters
async def test_a_call_to_a_server_that_falls_silent_is_repeated(kind: str, server: FakeServer) -> None:
    plan = Plan(at={2: Fault.SILENT})
    async with rig_of(kind, server, timeout_seconds=SHORT_SECONDS, patience_seconds=PATIENT) as rig:
        expected = await clean(rig)
        server.plan_from_now(plan if kind != "embedded" else Plan(at={1: Fault.SILENT}))
        assert_same(await scored(rig), expected, plan)
        await server.until(lambda: any(seen.left for seen in server.scored))


@adapters
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
async def test_a_storm_of_faults_changes_no_score(kind: str, seed: int, server: FakeServer) -> None:
    plan = Plan(seed=seed, share=0.4, drawn=tuple(passing(kind)))
    async with rig_of(kind, server, patience_seconds=PATIENT) as rig:
        expected = await clean(rig, TREE)
        server.plan_from_now(plan)
        for _ in range(2):
            assert_same(await scored(rig, TREE), expected, plan)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        *((kind, Fault.UNAVAILABLE) for kind in (*KINDS, "embedded")),
        ("vllm", Fault.OVERLOADED),
        ("vllm", Fault.MALFORMED),
    ],
)
async def test_a_fault_that_does_not_pass_ends_in_an_error_once_patience_is_over(
    kind: str, fault: Fault, server: FakeServer
) -> None:
    async with rig_of(kind, server) as rig:
        server.plan_from_now(Plan.always(fault))
        with pytest.raises(BackendUnavailable):
            await scored(rig)
    assert sum(rig.waits.slept) > 50
    assert len(server.scored) < 500


@pytest.mark.parametrize(
    ("kind", "fault"),
    [*((kind, Fault.REFUSED) for kind in (*KINDS, "embedded")), ("tgi", Fault.UNAUTHORIZED)],
)
async def test_a_refusal_is_an_error_at_once(kind: str, fault: Fault, server: FakeServer) -> None:
    async with rig_of(kind, server) as rig:
        server.plan_from_now(Plan.always(fault))
        with pytest.raises(BackendRefused) as raised:
            await scored(rig)
    assert not isinstance(raised.value, LabelUnreachable)
    assert attempts(server) == 1
    assert rig.waits.slept == []


@pytest.mark.parametrize(
    ("kind", "label"), [*((kind, LABELS[-1]) for kind in (*KINDS, "embedded")), ("vllm", LABELS[0])]
)
async def test_a_missing_label_is_never_a_number(kind: str, label: str, server: FakeServer) -> None:
    async with rig_of(kind, server) as rig:
        server.hidden = f" {label}"
        server.plan_from_now(Plan.always(Fault.MISSING_LABEL))
        with pytest.raises(LabelUnreachable):
            await scored(rig)


@adapters
async def test_a_label_that_is_missing_in_one_answer_alone_is_never_a_number(kind: str, server: FakeServer) -> None:
    async with rig_of(kind, server) as rig:
        await scored(rig)  # in which an adapter may learn how to ask
        server.plan_from_now(Plan())
        await scored(rig)
        for number in {1, len(server.scored)}:
            server.plan_from_now(Plan(at=dict.fromkeys(range(number, number + 50), Fault.MISSING_LABEL)))
            with pytest.raises(LabelUnreachable):
                await scored(rig)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_label_of_probability_zero_is_never_a_number(kind: str, server: FakeServer) -> None:
    server.model = ToyLanguageModel(ToyTokenizer(), impossible=(" False",))
    async with rig_of(kind, server) as rig:
        with pytest.raises(LabelUnreachable):
            await scored(rig)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        *((kind, fault) for kind in THOROUGH for fault in IMPOSSIBLE),
        *((kind, Fault.POSITIVE_VALUES) for kind in KINDS if kind not in THOROUGH),
        ("tgi", Fault.NAN_VALUES),
        ("tgi", Fault.OTHER_FORM),
    ],
)
async def test_impossible_values_are_never_scores(kind: str, fault: Fault, server: FakeServer) -> None:
    async with rig_of(kind, server) as rig:
        server.plan_from_now(Plan.always(fault))
        with pytest.raises(BackendError):
            await scored(rig)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [(kind, Fault.NULL_VALUES) for kind in KINDS]
    + [("embedded", fault) for fault in (Fault.POSITIVE_VALUES, Fault.OTHER_FORM)]
    + [("vllm", Fault.NAN_VALUES)],
)
async def test_impossible_values_in_one_answer_lead_to_a_retry_or_a_refusal(
    kind: str, fault: Fault, server: FakeServer
) -> None:
    async with rig_of(kind, server, patience_seconds=PATIENT) as rig:
        expected = await clean(rig)
        server.plan_from_now(Plan.once(fault))
        with suppress(BackendRefused):
            assert_same(await scored(rig), expected, server.plan)
    assert any(seen.fault is fault for seen in server.scored)


@pytest.mark.parametrize("kind", sorted(COUNTING))
async def test_a_prompt_that_was_cut_is_refused(kind: str, server: FakeServer) -> None:
    async with rig_of(kind, server) as rig:
        server.plan_from_now(Plan.always(Fault.TRUNCATED))
        with pytest.raises(BackendRefused):
            await scored(rig)
    assert attempts(server) == 1


@adapters
async def test_a_server_that_restarts_as_another_model_is_another_backend(
    kind: str, server: FakeServer, request: pytest.FixtureRequest
) -> None:
    if isinstance(server, FaultyEmbedded):
        other = request.getfixturevalue("other_embedded_url")
        server.successor = lambda: setattr(server, "upstream", other)
    else:
        server.successor = lambda: setattr(server, "model", ToyLanguageModel(ToyTokenizer(), seed=5))
    async with rig_of(kind, server, patience_seconds=PATIENT) as rig:
        expected, before = await clean(rig), await rig.scorer.identify()
        assert before.agrees_with(await rig.scorer.identify())
        server.plan_from_now(Plan(at={1: Fault.RESTARTED}))
        found = await scored(rig)
        after = await rig.scorer.identify()
    assert found.log_probabilities[Row(0)] != pytest.approx(expected[Row(0)], abs=1e-2)
    assert not before.agrees_with(after)


@adapters
async def test_a_server_that_restarts_as_it_was_is_the_same_backend(kind: str, server: FakeServer) -> None:
    async with rig_of(kind, server, patience_seconds=PATIENT) as rig:
        expected, before = await clean(rig), await rig.scorer.identify()
        plan = Plan(at={1: Fault.RESTARTED})
        server.plan_from_now(plan)
        assert_same(await scored(rig), expected, plan)
        assert before.agrees_with(await rig.scorer.identify())


@adapters
async def test_a_cancelled_score_is_a_call_that_the_server_sees_end(kind: str, server: FakeServer) -> None:
    async with rig_of(kind, server) as rig:
        server.plan_from_now(Plan.always(Fault.SILENT))
        task = asyncio.create_task(scored(rig))
        await server.until(lambda: len(server.scored) >= 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda: all(seen.left for seen in server.scored))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_ends_the_calls_that_are_under_way_for_the_same_tree(kind: str, server: FakeServer) -> None:
    async with rig_of(kind, server) as rig:
        silent = Plan.always(Fault.SILENT)
        server.plan_from_now(Plan(at={2: Fault.REFUSED}, share=1.0, drawn=silent.drawn, spared_after=9))
        with pytest.raises(BackendRefused):
            await scored(rig)
        await server.until(lambda: all(seen.left or seen.fault is Fault.REFUSED for seen in server.scored))


def test_the_plans_of_a_storm_can_be_given_again() -> None:
    plan = Plan(seed=1, share=0.4, drawn=tuple(passing("sglang")))
    assert Plan.read(json.loads(json.dumps(str(plan)))) == plan
