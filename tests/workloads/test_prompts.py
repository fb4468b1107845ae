"""Prompts have exactly the shape that is asked for, and are the same wherever they are made."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from joulebench.errors import InputError
from joulebench.workloads.generation_settings import Settings
from joulebench.workloads.prompts import RANDOM_BATCHES, fit, padded_batches, random_batches, read_prompts, tokenise

WORDS = ("[UNK]", "the", "cat", "sat", "on", "mat")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A folder with a tokenizer of six words."""
    folder = tmp_path_factory.mktemp("tokenizer")
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    return folder


def settings(batch_size=2, prompt_tokens=4, new_tokens=3):
    return Settings(batch_size=batch_size, prompt_tokens=prompt_tokens, new_tokens=new_tokens)


def test_random_prompts():
    made = random_batches(settings(), 100, seed=5, device="cpu")
    again = random_batches(settings(), 100, seed=5, device="cpu")
    other = random_batches(settings(), 100, seed=6, device="cpu")
    assert len(made) == RANDOM_BATCHES
    assert len({tuple(b.tokens.flatten().tolist()) for b in made}) == RANDOM_BATCHES
    for batch, same, differs in zip(made, again, other, strict=True):
        assert batch.tokens.shape == (2, 4)
        assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 5]]  # the last new token has none: it is not fed back
        assert batch.attended is None
        assert torch.equal(batch.tokens, same.tokens)
        assert not torch.equal(batch.tokens, differs.tokens)
        assert 0 <= int(batch.tokens.min()) <= int(batch.tokens.max()) < 100


def test_short_prompts_are_padded_on_the_left_and_long_ones_cut():
    (batch,) = padded_batches([[7, 8], [1, 2, 3, 4, 5, 6]], settings(), 10, "cpu")
    assert batch.tokens.tolist() == [[0, 0, 7, 8], [1, 2, 3, 4]]
    assert batch.attended.tolist() == [[False, False, True, True, True, True], [True] * 6]
    assert batch.positions.tolist() == [[0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]


def test_a_batch_without_padding_needs_no_mask():
    (batch,) = padded_batches([[1, 2, 3, 4], [1, 2, 3, 4, 5]], settings(), 10, "cpu")
    assert batch.attended is None
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 5]]


def test_only_full_batches_are_made():
    batches = padded_batches([[n] for n in range(5)], settings(), 10, "cpu")
    assert [b.tokens[:, -1].tolist() for b in batches] == [[0, 1], [2, 3]]


def test_too_few_prompts_are_repeated():
    (batch,) = padded_batches([[1], [2]], settings(batch_size=5), 10, "cpu")
    assert batch.tokens[:, -1].tolist() == [1, 2, 1, 2, 1]


def test_how_prompts_fit_into_one_length():
    rows = [[1], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6]]
    assert fit(rows, 4) == {"prompts_padding_share": 4 / 16, "prompts_cut_share": 1 / 4}  # 3 + 1 of 16 positions
    assert fit(rows[2:3], 4) == {"prompts_padding_share": 0.0, "prompts_cut_share": 0.0}


def test_a_tokenizer_of_another_model():
    with pytest.raises(InputError, match=r"options\.tokenizer: .*12 .* 10"):
        padded_batches([[3], [12]], settings(), 10, "cpu")


def test_a_file_of_prompts(tmp_path, tokenizer):
    path = tmp_path / "prompts.txt"
    path.write_text("the cat sat\n\n  \nthe dog sat on the mat\n")
    prompts = read_prompts(path)
    assert prompts == ["the cat sat", "the dog sat on the mat"]
    assert tokenise(prompts, str(tokenizer)) == [[1, 2, 3], [1, 0, 3, 4, 1, 5]]


@pytest.mark.parametrize("content", [None, b"\n \n", b"\xff\xfe"])
def test_unusable_files(tmp_path, content):
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"options\.prompts: .*prompts.txt: "):
        read_prompts(path)


def test_no_tokenizer_there(tmp_path):
    with pytest.raises(InputError, match=r"options.tokenizer: '.*' cannot be loaded: "):
        tokenise(["the cat"], str(tmp_path))


def test_a_prompt_of_no_tokens(tokenizer):
    with pytest.raises(InputError, match=r"options\.tokenizer: .*prompt 2"):
        tokenise(["the cat", " "], str(tokenizer))
