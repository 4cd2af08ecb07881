"""How the documents of a pretraining step are laid out in tensors."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from inference.pretraining.batches import draw_step, in_groups
from inference.pretraining.documents import MIXTURE, draw_document
from inference.settings import SMALL_MODEL

PADDING = 0
MOST_TOKENS = 4096
documents = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=300), min_size=1, max_size=60)


@given(documents)
def test_every_document_has_one_row_and_padding_only_behind_it(drawn: list[list[int]]) -> None:
    rows = [row for group in in_groups(drawn, most_tokens=MOST_TOKENS, padding=PADDING) for row in group.tolist()]
    unpadded = [[token for token in row if token != PADDING] for row in rows]
    assert sorted(unpadded) == sorted(drawn)
    assert all(row[: len(document)] == document for row, document in zip(rows, unpadded, strict=True))


@given(documents)
def test_no_group_is_larger_than_asked_for_and_large_ones_are_hardly_padded(drawn: list[list[int]]) -> None:
    for group in in_groups(drawn, most_tokens=MOST_TOKENS, padding=PADDING):
        assert group.numel() <= MOST_TOKENS
        if group.numel() > 2048:
            assert (group == PADDING).float().mean() < 0.5


def test_a_step_reads_as_many_tokens_as_asked_for_in_documents_cut_at_the_context() -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(SMALL_MODEL)
    rng = Random(0)
    drawn = draw_step(lambda: draw_document(rng, 60, MIXTURE), tokenizer, tokens=5000, cut=400)
    read = sum(map(len, drawn))
    assert 5000 <= read < 5000 + 400
    assert max(map(len, drawn)) == 400
    assert {document[0] for document in drawn} == {tokenizer.bos_token_id}
