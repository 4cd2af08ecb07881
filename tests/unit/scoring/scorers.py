"""Scorers over wires, with the options that tests need."""

from service.scoring.calls.executor import CallExecutor
from service.scoring.prompts import PromptScorer
from service.scoring.wires.tgi import TgiWire
from service.scoring.wires.vllm import VllmWire


def tgi_scorer(
    url: str, *, max_top_tokens: int = 5, timeout_seconds: float = 30.0, patience_seconds: float = 60.0
) -> PromptScorer:
    """A scorer for a server with TGI's wire."""
    wire = TgiWire(url, timeout_seconds=timeout_seconds, connections=64, max_top_tokens=max_top_tokens)
    return PromptScorer("default", wire, CallExecutor(concurrency=64, patience_seconds=patience_seconds))


def vllm_scorer(url: str, *, timeout_seconds: float = 30.0) -> PromptScorer:
    """A scorer for a server with vLLM's wire, with prompts as token ids."""
    wire = VllmWire(url, timeout_seconds=timeout_seconds, connections=64)
    return PromptScorer("default", wire, CallExecutor(concurrency=64))
