"""Describes one kind of inference server beside its wire: its name, how to detect it, and advice for its operator.

Every wire module has one such record; `service/scoring/kinds.py` lists them all.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

GetDocument = Callable[[str], Awaitable[Mapping[str, Any]]]
"""Returns the JSON object that a server serves at a path; an empty one if there is none."""

Recognise = Callable[[GetDocument], Awaitable[bool]]
"""Decides whether a server is of a kind, by a few GETs that need no computation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """Advice on how to configure a server: one sentence for each possible problem, without a full stop.

    Sources: the launch options documented by vLLM 0.33, SGLang 0.5, text-generation-inference 3.3 and llama.cpp.
    """

    unreachable_label: str = "take other labels, or a server that names more alternatives"
    computed_tokens: str = "this kind of server never reports them"
    prefix_cache: str = "turn the server's prefix cache on"
    cache_block: str = "give the prefix cache smaller blocks"
    differing_calls: str = "serve the model in a higher precision"
    context: str = "use a release that reports it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of inference server.

    `name` is what operators write as a backend's `kind`, `title` what people call the server. A kind without
    `recognises` is never detected at an address. `speaks` names the kinds whose wires the server also speaks, each
    with advice for an operator who has configured that kind; an empty text if there is no advice. `without_adapters`
    says what to do with a trained adapter instead, for a kind that loads none while it runs.
    """

    name: str
    title: str
    remedies: Remedies = Remedies()
    recognises: Recognise | None = None
    speaks: Mapping[str, str] = field(default_factory=dict)
    without_adapters: str = (
        "merge the adapter into its base (`merge_and_unload` of PEFT), serve the result as a backend "
        "of its own, and name that backend as the model"
    )
