"""The promises about trained adapters, in the form of table.py."""

from tests.mutations.mutation import Mutation

ADAPTED, MODELS = "tests/unit/scoring/test_adapted.py", "tests/unit/api/test_trained_models.py"

ADAPTERS = (
    Mutation(
        "the adapter that was used last makes room for the next",
        "inference/adapters/registry.py",
        "        self._latest.pop(name, None)\n",
        "",
        ("tests/inference/test_adapter_wires.py",),
    ),
    Mutation(
        "servers know a trained adapter by another name than its content's",
        "service/scoring/wires/adapters.py",
        "return self.trained.sha256",
        "return self.trained.backend",
        (f"{ADAPTED}::test_a_trained_adapter_is_loaded_once_and_scores_as_itself",),
    ),
    Mutation(
        "SGLang's base scores what a job asks of a training",
        "service/scoring/wires/sglang.py",
        'named = {**body, "lora_path": self._adapter.name}',
        "named = body",
        (f"{ADAPTED}::test_a_trained_adapter_is_loaded_once_and_scores_as_itself",),
    ),
    Mutation(
        "an adapter is loaded over a base of another fingerprint",
        "service/scoring/wires/adapters.py",
        "if known and served not in known:",
        "if known and served is None:",
        (f"{MODELS}::test_an_adapter_that_the_server_cannot_serve_is_a_fault_of_the_model",),
    ),
    Mutation(
        "an adapter is loaded over a base of another name",
        "service/scoring/wires/adapters.py",
        "if names and known and known.isdisjoint(",
        "if not names and known and known.isdisjoint(",
        (f"{ADAPTED}::test_a_server_that_cannot_serve_an_adapter_says_why",),
    ),
    Mutation(
        "files of an adapter that have changed are served",
        "service/artifacts/adapter_folder.py",
        "!= adapter.sha256",
        '== ""',
        ("tests/unit/artifacts/test_adapter_folder.py",),
    ),
    Mutation(
        "a job ends where its server has lost the adapter",
        "service/scoring/embedded.py",
        "if self._adapter is None or not await self._is_loaded_again():",
        "if True:",
        (f"{MODELS}::test_a_server_that_loses_the_adapter_while_it_scores_gets_it_again",),
    ),
)
