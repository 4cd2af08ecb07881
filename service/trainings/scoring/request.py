"""Checks a request for the rewards of texts, field by field."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from service.errors import InvalidConfig
from service.strict_model import StrictModel
from service.trainings.faults import faults_of
from service.values import is_blank

MOST_TEXTS = 256  # of a request, so that the answer comes while the caller waits
MOST_CHARACTERS = 100_000  # of a text; the reward model's context is shorter
WRONG = "the texts cannot be scored"

Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
Prompt = Annotated[str, Field(max_length=MOST_CHARACTERS)]


class Responses(StrictModel):
    """A prompt, and texts that each stand behind it."""

    prompt: Prompt
    responses: list[Text] = Field(min_length=1, max_length=MOST_TEXTS)

    def responses_of(self, number: int) -> Iterator[tuple[str, str]]:
        """The responses with their fields in a request of which this is prompt `number`, from 0."""
        for place, response in enumerate(self.responses):
            yield f"prompts.{number}.responses.{place}", response


class ScoringRequest(StrictModel):
    """Texts for a reward model: whole texts, prompts with several responses each, or both."""

    reward: str = Field(description="a finished training of kind reward", examples=["train_" + "0" * 32])
    texts: list[Text] = Field(default_factory=list, max_length=MOST_TEXTS)
    prompts: list[Responses] = Field(
        default_factory=list,
        max_length=MOST_TEXTS,
        description="a scored text is the prompt with the response directly behind it; "
        "a job's pairs have a line for each group column as their prompt",
    )

    @model_validator(mode="after")
    def _are_some_and_not_too_many(self) -> Self:
        count = len(self.texts) + sum(len(one.responses) for one in self.prompts)
        if not count:
            raise ValueError("texts: send texts, or prompts with responses")
        if count > MOST_TEXTS:
            raise ValueError(f"texts: the request has {count} with all responses, and a request may have {MOST_TEXTS}")
        return self

    @model_validator(mode="after")
    def _are_not_blank(self) -> Self:
        behind = ((field, text) for number, one in enumerate(self.prompts) for field, text in one.responses_of(number))
        for field, text in (*_whole(self.texts), *behind):
            if is_blank(text):
                raise ValueError(f"{field}: is blank")
        return self

    @property
    def located_texts(self) -> Sequence[tuple[str, str]]:
        """Every text with the field that it comes from, in the request's order."""
        behind = (
            (field, one.prompt + response)
            for number, one in enumerate(self.prompts)
            for field, response in one.responses_of(number)
        )
        return [*_whole(self.texts), *behind]


def _whole(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for place, text in enumerate(texts):
        yield f"texts.{place}", text


def parse_scoring_request(raw: Any) -> ScoringRequest:
    """The request in this JSON value. Raises InvalidConfig with a dotted field for every fault."""
    try:
        return ScoringRequest.model_validate(raw)
    except ValidationError as error:
        raise InvalidConfig(WRONG, faults_of(error, ScoringRequest)) from error
