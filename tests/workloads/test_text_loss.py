"""Bits per byte of a text, against values by hand."""

from __future__ import annotations

import math

import pytest
import torch

from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.workloads import text_loss as module
from joulebench.workloads.base import Context
from joulebench.workloads.text_loss import read_halves, text_loss
from joulebench.workloads.transformer import Transformer
from tests.language_models import KnowsSome, build, byte_tokenizer
from tests.workloads.test_prompts import tokenizer  # noqa: F401


@pytest.fixture(scope="module")
def bytes_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bytes")
    byte_tokenizer(folder)
    return folder


def test_a_model_that_knows_nothing_needs_the_logarithm_of_its_tokens(bytes_folder, tmp_path):
    """Of 257 tokens that are equally likely, each takes log2(257) bits: per byte, of a text of any letters."""
    (tmp_path / "t.txt").write_text("Grüße, 世界!\n" * 300)
    options = {"tokenizer": str(bytes_folder), "text": str(tmp_path / "t.txt")}
    workload = KnowsSome(Context("cpu", 0, RealClock(), options=options))
    workload.build({"prompt_tokens": 4, "new_tokens": 2})
    for split in ("validation", "test"):
        assert workload.evaluate(split) == {"bits_per_byte": pytest.approx(math.log2(257), rel=1e-6)}
    assert workload.evaluate("validation").keys() == {"bits_per_byte"}
    assert workload.standard_errors()["val_bits_per_byte"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("n", [1, 5, 16, 17, 40])
def test_every_token_counts_once(monkeypatch, n):
    """Sum over windows of 16, each after the first token alone, as computed token by token."""
    monkeypatch.setattr(module, "WINDOW", 16)
    model = build("gpt2").model
    tokens = torch.randint(500, (n,), generator=torch.Generator().manual_seed(n)).tolist()
    nats = 0.0
    for start in range(0, n, 16):
        for end in range(start, min(start + 16, n)):
            with torch.no_grad():
                logits = model(torch.tensor([[7, *tokens[start:end]]])).logits[0, -1]
            nats -= float(torch.log_softmax(logits.double(), 0)[tokens[end]])
    found = text_loss(model, tokens, 7, n_bytes=100)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / 100, rel=1e-5)
    assert (found.sem is None) == (n < 32)


def test_the_standard_error_covers_the_mean_of_more_text(monkeypatch):
    """Windows of random tokens are independent: of 60 halves, about 95 % hold the whole's value."""
    monkeypatch.setattr(module, "WINDOW", 16)
    model = build("gpt2").model
    tokens = torch.randint(500, (60 * 320,), generator=torch.Generator().manual_seed(0)).tolist()
    whole = text_loss(model, tokens, 7, n_bytes=len(tokens)).bits_per_byte
    parts = [text_loss(model, tokens[at : at + 320], 7, n_bytes=320) for at in range(0, len(tokens), 320)]
    held = sum(abs(p.bits_per_byte - whole) <= 2.09 * p.sem for p in parts)  # t of 19 degrees of freedom
    assert 50 <= held <= 60


@pytest.mark.parametrize(
    ("validation", "test"),
    [("one\ntwo and three\n", "four five\n"), ("one\n", "two\n"), ("1\n", "a longer end"), ("1 2 3\n", "4")],
)
def test_halves_are_cut_at_the_end_of_a_line(tmp_path, validation, test):
    (tmp_path / "t.txt").write_text(validation + test)
    assert read_halves(tmp_path / "t.txt") == {"validation": validation, "test": test}


@pytest.mark.parametrize("text", ["", "one line", "one line\n", "\n\n  \n"])
def test_a_text_without_two_lines_is_refused(tmp_path, text):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(InputError, match=r"options.text: .*two lines"):
        read_halves(tmp_path / "t.txt")


def test_words_that_the_tokenizer_does_not_know_are_refused(tokenizer, tmp_path):  # noqa: F811
    (tmp_path / "t.txt").write_text("the zzz\nthe yyy\n")
    options = {"tokenizer": str(tokenizer), "text": str(tmp_path / "t.txt")}
    workload = Transformer(Context("cpu", 0, RealClock(), options=options))
    workload.build({"prompt_tokens": 4, "new_tokens": 2, "layers": 1})
    with pytest.raises(InputError, match="1 places"):
        workload.evaluate("validation")
