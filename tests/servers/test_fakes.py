"""Every fake server answers as the real one is documented to, and fails as the test planned."""

import asyncio
import json
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.servers.asking import KINDS, ask, body_of, client_of, path_of, read_reply
from tests.servers.connections import serving_in_thread
from tests.servers.fake import FakeServer
from tests.servers.faults import RETRY_AFTER_SECONDS, Fault, Plan
from tests.servers.language_model import ToyLanguageModel, ToyTokenizer
from tests.servers.tgi import FakeTgi
from tests.servers.vllm import FakeVllm

TEXT = "Paris is in France. True\n\nOslo is in Spain."
kinds = pytest.mark.parametrize("kind", KINDS)


def answers(server: FakeServer) -> list[int]:
    return [server.model.tokenizer.id_of(text) for text in (" True", " False")]


@kinds
async def test_every_kind_returns_the_language_models_values(kind: str) -> None:
    server = KINDS[kind]()
    expected = server.model.log_probabilities(server.model.tokenizer.ids(TEXT, special=True))
    async with client_of(server) as client:
        scores = await ask(client, server, TEXT, answers(server))
    for token in answers(server):
        assert scores.values[token] == pytest.approx(expected[token], abs=1e-6)


@kinds
async def test_a_prompt_sent_again_is_found_in_the_cache(kind: str) -> None:
    server = KINDS[kind]()
    text = TEXT * 4
    length = len(server.model.tokenizer.ids(text, special=True))
    expected = {"tgi": None, "vllm": (length - 1) // 16 * 16, "sglang": length - 1, "llamacpp": length - 1}[kind]
    async with client_of(server) as client:
        cold = await ask(client, server, text, answers(server))
        computed = server.tokens_computed
        warm = await ask(client, server, text, answers(server))
    assert computed == length
    assert cold.cached in (0, None)
    assert warm.cached == expected
    assert server.tokens_computed - computed == length - (expected if expected is not None else length - 1)
    assert warm.values == cold.values


async def test_tgi_keeps_a_prefix_only_when_a_request_has_ended() -> None:
    for server, shares in ((FakeTgi(latency_seconds=0.01), False), (FakeVllm(latency_seconds=0.01), True)):
        length = len(server.model.tokenizer.ids(TEXT * 4, special=True))
        async with client_of(server) as client:
            await asyncio.gather(*(ask(client, server, TEXT * 4, answers(server)) for _ in range(3)))
        assert (server.tokens_computed < 2 * length) is shares


REFUSED_LENGTHS = {
    "tgi": (422, "`inputs` tokens + `max_new_tokens` must be <= 4096"),
    "vllm": (400, "maximum context length is 4096 tokens. However, your prompt contains 6"),
    "sglang": (400, "is longer than the model's context length (4096 tokens)"),
    "llamacpp": (400, "exceeds the available context size (4096 tokens), try increasing it"),
}


@kinds
async def test_a_prompt_that_is_too_long_is_refused_in_the_servers_own_words(kind: str) -> None:
    server = KINDS[kind]()
    status, words = REFUSED_LENGTHS[kind]
    async with client_of(server) as client:
        reply = await client.post(path_of(kind), json=body_of(server, TEXT * 500, answers(server)))
    assert reply.status_code == status
    assert words in reply.text


@kinds
async def test_fields_nobody_knows_are_accepted_silently(kind: str) -> None:
    server = KINDS[kind]()
    async with client_of(server) as client:
        body = body_of(server, TEXT, answers(server)) | {"no_such_field": True}
        reply = await client.post(path_of(kind), json=body)
    assert reply.status_code == 200


@kinds
async def test_a_server_with_a_key_refuses_calls_without_it(kind: str) -> None:
    server = KINDS[kind](api_key="secret")
    async with client_of(server) as client:
        body = body_of(server, TEXT, answers(server))
        without = await client.post(path_of(kind), json=body)
        given = await client.post(path_of(kind), json=body, headers={"authorization": "Bearer secret"})
    assert (without.status_code, given.status_code) == (401, 200)


STATUSES = {
    Fault.FAILED: {500},
    Fault.BAD_GATEWAY: {502},
    Fault.UNAVAILABLE: {503},
    Fault.OVERLOADED: {429, 503},
    Fault.REFUSED: {400, 422},
    Fault.UNAUTHORIZED: {401},
}


@kinds
async def test_a_fault_with_a_status_answers_once_and_the_next_call_is_well(kind: str) -> None:
    server = KINDS[kind](plan=Plan(at=dict(enumerate(STATUSES, start=1))))
    async with client_of(server) as client:
        body = body_of(server, TEXT, answers(server))
        *failed, last = [(await client.post(path_of(kind), json=body)).status_code for _ in range(len(STATUSES) + 1)]
    assert all(status in expected for status, expected in zip(failed, STATUSES.values(), strict=True))
    assert last == 200
    assert [seen.fault for seen in server.scored] == [*STATUSES, None]


@kinds
async def test_retry_after_comes_in_seconds_or_as_a_date(kind: str) -> None:
    server = KINDS[kind](plan=Plan(at={1: Fault.OVERLOADED_SECONDS, 2: Fault.UNAVAILABLE_DATE}))
    async with client_of(server) as client:
        body = body_of(server, TEXT, answers(server))
        first, second = [await client.post(path_of(kind), json=body) for _ in range(2)]
    assert (first.status_code, first.headers["retry-after"]) == (429, str(RETRY_AFTER_SECONDS))
    assert second.status_code == 503
    assert parsedate_to_datetime(second.headers["retry-after"]).tzinfo is not None


@kinds
async def test_a_broken_connection_is_one_for_the_client(kind: str) -> None:
    server = KINDS[kind](plan=Plan(at={1: Fault.RESET_BEFORE, 2: Fault.RESET_WITHIN}))
    async with client_of(server) as client:
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                await ask(client, server, TEXT, answers(server))
        assert (await ask(client, server, TEXT, answers(server))).values
    assert server.connections.opened == 3


@kinds
async def test_a_silent_server_sees_its_client_leave(kind: str) -> None:
    server = KINDS[kind](plan=Plan(at={1: Fault.SILENT}))
    async with client_of(server) as client:
        call = asyncio.create_task(ask(client, server, TEXT, answers(server)))
        await server.until(lambda: len(server.scored) == 1)
        call.cancel()
        await server.until(lambda: server.scored[0].left)
    assert server.scored[0].status is None


@kinds
async def test_an_answer_that_is_no_json_has_a_good_status(kind: str) -> None:
    faults = (Fault.MALFORMED, Fault.CUT_JSON, Fault.EMPTY)
    server = KINDS[kind](plan=Plan(at=dict(enumerate(faults, start=1))))
    async with client_of(server) as client:
        body = body_of(server, TEXT, answers(server))
        replies = [await client.post(path_of(kind), json=body) for _ in faults]
    for reply in replies:
        assert reply.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            reply.json()


@kinds
async def test_a_hidden_label_is_nowhere_in_the_answer(kind: str) -> None:
    server = KINDS[kind](plan=Plan.always(Fault.MISSING_LABEL))
    async with client_of(server) as client:
        for server.hidden in (" True", " False"):
            reply = await client.post(path_of(kind), json=body_of(server, TEXT, answers(server)))
            assert server.hidden_token not in read_reply(kind, reply.json()).values
            assert f'"id":{server.hidden_token}' not in reply.text.replace(" ", "")
            assert f"token_id:{server.hidden_token}" not in reply.text


@kinds
async def test_spoilt_values_are_in_the_answer(kind: str) -> None:
    spoilt = {Fault.NULL_VALUES: {"None"}, Fault.NAN_VALUES: {"nan"}, Fault.POSITIVE_VALUES: {"0.5"}}
    server = KINDS[kind](plan=Plan(at=dict(enumerate(spoilt, start=1))))
    async with client_of(server) as client:
        scores = [await ask(client, server, TEXT, answers(server)) for _ in spoilt]
    assert [set(map(str, each.values.values())) for each in scores] == list(spoilt.values())


@kinds
async def test_a_server_that_restarts_breaks_its_connections_and_is_another(kind: str) -> None:
    server = KINDS[kind](plan=Plan(at={2: Fault.RESTARTED}))
    other = ToyLanguageModel(ToyTokenizer(), seed=9)
    server.successor = lambda: setattr(server, "model", other)
    async with client_of(server) as client:
        before = await ask(client, server, TEXT, answers(server))
        with pytest.raises(httpx.TransportError):
            await ask(client, server, TEXT, answers(server))
        after = await ask(client, server, TEXT, answers(server))
    assert after.values != before.values
    assert after.cached in (0, None)


@kinds
async def test_impossible_tokens_are_reported_in_the_servers_own_way(kind: str) -> None:
    model = ToyLanguageModel(ToyTokenizer(), impossible=(" False",))
    server = KINDS[kind](model)
    _, false = answers(server)
    async with client_of(server) as client:
        body = body_of(server, TEXT, answers(server))
        if kind == "llamacpp":
            body["n_probs"] = model.tokenizer.size
        scores = read_reply(kind, (await client.post(path_of(kind), json=body)).json())
    expected = {"vllm": -9999.0, "sglang": None, "llamacpp": -3.4028234663852886e38}
    assert scores.values.get(false) == expected.get(kind)
    assert (false in scores.values) is (kind != "tgi")


@kinds
async def test_text_and_ids_are_the_same_prompt_where_both_are_taken(kind: str) -> None:
    server = KINDS[kind]()
    async with client_of(server) as client:
        body = body_of(server, TEXT, answers(server))
        as_ids = read_reply(kind, (await client.post(path_of(kind), json=body)).json())
        body |= {"tgi": {}, "vllm": {"prompt": TEXT}, "sglang": {"text": TEXT}, "llamacpp": {"prompt": TEXT}}[kind]
        if kind == "sglang":
            del body["input_ids"]
        as_text = read_reply(kind, (await client.post(path_of(kind), json=body)).json())
    assert as_text.values == as_ids.values


@kinds
def test_a_fake_serves_clients_that_block_too(kind: str) -> None:
    server = KINDS[kind]()
    with serving_in_thread(server) as url:
        body = body_of(server, TEXT, answers(server))
        reply = httpx.post(url + path_of(kind), json=body, trust_env=False)
    assert read_reply(kind, reply.json()).values
