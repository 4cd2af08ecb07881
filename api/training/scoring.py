"""The route that scores texts by a reward model."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import Field

from api.dependencies import TheApplication, TheStore
from api.edge.bodies import read_json
from api.openapi.documentation import documented, problems
from api.schemas import Body, read_at
from service.trainings.scoring.request import ScoringRequest, parse_scoring_request
from service.trainings.scoring.score import score_texts

router = APIRouter(tags=["trainings"])

_MAX_BYTES = 4_000_000  # of a request
_BODY = documented(ScoringRequest, {"reward": "train_" + "0" * 32, "texts": ["A first answer.", "A second one."]})


class ScoredTextBody(Body):
    """A text's score."""

    field: str = Field(description="where the text stands in the request, such as texts.0 or prompts.0.responses.1")
    score: float = Field(description="the reward; the difference of two is the log-odds that the first is better, nats")
    tokens: int


class ScoresBody(Body):
    """The scores of all texts of a request, in their order."""

    object: Literal["scores"] = "scores"
    reward: str = read_at("model", "training_id", description="the training that made the reward model")
    sha256: str = read_at("model", "sha256", description="of the reward model's files")
    data: list[ScoredTextBody] = read_at("texts")
    tokens: int = Field(description="of all texts, which count towards the project's daily quota")


@router.post("/v1/score", openapi_extra=_BODY, responses=problems(400, 404, 408, 409, 413, 415, 503))
async def score(request: Request, application: TheApplication, store: TheStore) -> ScoresBody:
    """Score texts by a reward model, which the first request loads; the service stores no text."""
    wanted = parse_scoring_request(await read_json(request, _MAX_BYTES))
    return ScoresBody.model_validate(await score_texts(wanted, store, application.scorers.rewards))
