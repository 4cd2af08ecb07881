"""Reads `GET /info`, by which text-generation-inference and the embedded server describe themselves."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from service.records.scoring import ServerFacts
from service.scoring.wires.replies import positive_or_none, text_or_none


def read_info(info: Mapping[str, Any]) -> ServerFacts:
    """The facts in a reply. Only the embedded server's reply has the cap on alternatives (`max_top_n_tokens`)."""
    return ServerFacts(
        model=text_or_none(info.get("model_id")),
        revision=text_or_none(info.get("model_sha")),
        server_version=text_or_none(info.get("version")),
        context_tokens=positive_or_none(info.get("max_input_tokens")),
        max_concurrent_requests=positive_or_none(info.get("max_concurrent_requests")),
        max_top_tokens=positive_or_none(info.get("max_top_n_tokens")),
    )


def adapter_names(info: Mapping[str, Any]) -> set[str]:
    """The names of the embedded server's adapters. Raises what `reading` translates."""
    return {each["id"] for each in info.get("adapters") or ()}


def with_adapter(facts: ServerFacts, info: Mapping[str, Any], adapter: str) -> ServerFacts:
    """The facts of the base and this adapter together; with a problem if the embedded server has no such adapter.

    The adapter's `sha` changes with its files and with the base. Raises what `reading` translates.
    """
    served = {each["id"]: each for each in info.get("adapters") or ()}
    if adapter in served:
        revision = text_or_none(served[adapter].get("sha"))
        return replace(facts, model=" + ".join(filter(None, (facts.model, adapter))), revision=revision)
    others = f"set the backend's adapter to one of: {', '.join(served)}; or " if served else ""
    problem = f"the server has no adapter {adapter!r}; {others}launch the server with --adapter {adapter}=FOLDER"
    return replace(facts, problems=(*facts.problems, problem))
