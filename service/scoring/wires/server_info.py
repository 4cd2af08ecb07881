"""Reads `GET /info`, by which text-generation-inference and the embedded server describe themselves."""

from collections.abc import Mapping
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
