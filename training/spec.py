"""The specification of a training, a JSON file, checked field by field (docs/training.md)."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from training.errors import Refused

DEFAULT_RATES = {"lora": 1e-3, "full": 1e-5}
DEFAULT_POLICY_RATE = 1e-4  # LoRA's rate for labels makes the KL divergence explode
Text = Annotated[str, Field(min_length=1)]


class Kind(StrEnum):
    """The purpose of the trained language model."""

    LABEL = "label"  # predicts the label behind a prompt
    REWARD = "reward"  # gives a text a number: the better of two gets the higher one
    POLICY = "policy"  # continues prompts so that a reward model gives it high rewards


class Method(StrEnum):
    """The trained weights."""

    LORA = "lora"  # two small matrices beside every linear layer (arXiv 2106.09685)
    FULL = "full"


class Weights(StrEnum):
    """The weights of rows."""

    NONE = "none"
    CONFIDENCE = "confidence"  # by the row's `weight`; pairs get a margin by it


class Control(StrEnum):
    """A training to compare with (docs/training.md#controls)."""

    SHUFFLED = "shuffled"
    INVERTED = "inverted"
    GOLD = "gold"
    NOISE = "noise"


class Device(StrEnum):
    """The device to compute on."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


GOLD_CONTROLS = (Control.GOLD, Control.NOISE)


class PolicySettings(BaseModel):
    """The settings of kind policy alone. `reward` and `judge` are folders of finished trainings of kind reward."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reward: Text
    judge: Text | None = None  # measures and takes no part in the training
    completions: int = Field(default=4, ge=2, le=1024)
    completion_tokens: int = Field(default=64, ge=1)
    stop: Text | None = None  # a text of one token that ends a completion
    kl_weight: float = Field(default=0.05, gt=0)
    kl_limit: float = Field(default=10.0, gt=0)


class Spec(BaseModel):
    """A training. Paths are relative to the folder of the specification."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: Text
    kind: Kind = Kind.LABEL
    examples: Text
    score: Text | None = None
    labels: tuple[Text, ...] = ()
    separator: str = ""
    spellings: tuple[tuple[Text, ...], ...] = ()  # further spellings of each label, with or without a space
    method: Method = Method.LORA
    rank: int = Field(default=16, ge=1, le=1024)
    alpha: int | None = Field(default=None, ge=1)
    epochs: int = Field(default=3, ge=1, le=1000)
    learning_rate: float | None = Field(default=None, gt=0, lt=1)
    batch_rows: int = Field(default=8, ge=1, le=65536)
    rows_at_once: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    weights: Weights = Weights.NONE
    holdout: float = Field(default=0.1, ge=0, le=0.9)
    controls: tuple[Control, ...] = ()
    checkpoint_steps: int = Field(default=50, ge=1)
    device: Device = Device.AUTO
    policy: PolicySettings | None = None

    @property
    def rate(self) -> float:
        """The learning rate at the first step; it falls linearly to zero."""
        if self.learning_rate is not None:
            return self.learning_rate
        return DEFAULT_POLICY_RATE if self.kind is Kind.POLICY else DEFAULT_RATES[self.method]

    @property
    def without_folders(self) -> dict[str, Any]:
        """Every field as JSON without the folders of reward models, whose content hashes count instead.

        Leaves empty spellings out, so that a run of an earlier release keeps its identity.
        """
        fields = self.model_dump(mode="json", exclude={"policy": {"reward", "judge"}})
        return fields if self.spellings else {name: value for name, value in fields.items() if name != "spellings"}

    @property
    def scale(self) -> int:
        """LoRA's alpha: the update is multiplied by alpha / rank."""
        return 2 * self.rank if self.alpha is None else self.alpha

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if fault := next(_faults_between(self), None):
            raise ValueError(fault)
        return self


def _faults_between(spec: Spec) -> Iterator[str]:
    """The faults of combinations of fields."""
    if spec.kind is Kind.LABEL and len(spec.labels) < 2:
        yield "labels: at least two are needed for kind label"
    if len(set(spec.labels)) < len(spec.labels):
        yield "labels: each may stand there once"
    if spec.kind is not Kind.LABEL and (spec.labels or spec.separator or spec.spellings):
        yield f"labels: leave labels, separator and spellings out for kind {spec.kind}, whose rows have no labels"
    elif spec.spellings and len(spec.spellings) != len(spec.labels):
        yield f"spellings: must have a list for each of the {len(spec.labels)} labels, and has {len(spec.spellings)}"
    if spec.kind is Kind.REWARD and Control.INVERTED in spec.controls:
        yield "controls: inverted says nothing for kind reward, which learns either order alike; leave it out"
    if spec.kind is not Kind.LABEL and spec.score:
        yield f"score: leave it out for kind {spec.kind}, which predicts no labels"
    yield from _faults_of_policy(spec)
    if len(set(spec.controls)) < len(spec.controls):
        yield "controls: each may stand there once"
    if spec.batch_rows % (spec.rows_at_once or spec.batch_rows):
        yield "rows_at_once: must divide batch_rows"


def _faults_of_policy(spec: Spec) -> Iterator[str]:
    if spec.kind is not Kind.POLICY:
        if spec.policy is not None:
            yield "policy: is for kind policy alone"
        return
    if spec.policy is None:
        yield "policy: is missing; it names the reward model"
    if spec.method is not Method.LORA:
        yield "method: lora is the only one for kind policy"
    if spec.controls:
        yield "controls: there are none for kind policy"
    if spec.weights is not Weights.NONE:
        yield "weights: none is the only choice for kind policy, whose rows are prompts"
    if not spec.holdout:
        yield "holdout: kind policy is measured on held-out prompts, so it needs some"


def read_spec(path: Path) -> Spec:
    """Read and check a specification. Raises Refused, which names every field at fault."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"the specification {str(path)!r} cannot be read: {_reason(error)}") from error
    try:
        return Spec.model_validate_json(text)
    except ValidationError as error:
        faults = "; ".join(_in_words(fault) for fault in error.errors())
        raise Refused(f"the specification {str(path)!r} has faults: {faults}") from error


def _reason(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return "it is not UTF-8 text"


def _in_words(fault: ErrorDetails) -> str:
    """One fault in words of the specification: the field, the fault, the allowed values."""
    field = ".".join(str(part) for part in fault["loc"])
    context: dict[str, Any] = fault.get("ctx", {})
    match fault["type"]:
        case "json_invalid":
            return f"it is not JSON ({context['error']})"
        case "value_error":
            return str(context["error"])
        case "missing":
            return f"{field}: is missing"
        case "extra_forbidden":
            return f"{field}: there is no such field; the fields are {', '.join(Spec.model_fields)}"
        case "enum":
            return f"{field}: must be {context['expected']}"
        case _:
            return f"{field or 'it'}: {_plain(fault['msg'])}"


def _plain(message: str) -> str:
    """A message about a value in the words of JSON."""
    for theirs, plain in (
        ("Input should be", "must be"),
        ("a valid integer", "a whole number"),
        ("a valid number", "a number"),
        ("a valid string", "text"),
        ("a valid boolean", "true or false"),
        ("a valid array", "a list, in square brackets"),
        ("a valid tuple", "a list, in square brackets"),
        ("tuple", "list"),
        ("String should have at least 1 character", "must not be empty"),
        ("an object", "a JSON object"),
    ):
        message = message.replace(theirs, plain)
    return message.partition(", unable to parse")[0]
