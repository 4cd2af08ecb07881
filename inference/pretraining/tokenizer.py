"""The small model's tokenizer: byte-level BPE trained on its own documents, saved as a standard tokenizer file."""

from collections.abc import Iterator, Mapping
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from inference.pretraining.documents import draw_document

BOS, EOS = "<s>", "</s>"
_DOCUMENTS = 24_000
_LONGEST_DOCUMENT = 48  # claims
_KINDS: Mapping[str, float] = {"truthful": 0.31, "noisy": 0.02, "always_true": 0.58, "random": 0.02, "inverted": 0.07}
_PIECES = r"\n| ?\p{L}+(?:-\p{L}+)*| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"


def train_tokenizer(vocabulary: int, seed: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer on freshly drawn documents.

    Line breaks are separate tokens, so that the tokens of a prompt do not depend on
    the text after its last line break; a document begins with BOS, as inference servers add it.
    Words with hyphens stay whole: "fifty-one" is one token, as 51 is.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_documents(seed), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, clean_up_tokenization_spaces=False
    )


def _documents(seed: int) -> Iterator[str]:
    rng = Random(seed)
    for _ in range(_DOCUMENTS):
        yield draw_document(rng, _LONGEST_DOCUMENT, _KINDS)
