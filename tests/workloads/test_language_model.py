"""The byte-level language model: it learns, is judged on every byte once, keeps its weights."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from joulebench.data import Split, StagedImages, StagedText, load_arrays, stage
from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.records.model import Costs
from joulebench.spec.task import Dataset
from joulebench.workloads.base import Context, InfeasibleError
from joulebench.workloads.flops import with_training
from joulebench.workloads.language_model import LanguageModel, Schedule, windows_of

GRAMMAR = Dataset(name="grammar", n=200_000, validation=5_000)
SMALL = {
    "hidden_size": 32, "layers": 1, "heads": 2, "sequence_length": 32, "batch_size": 3, "new_tokens": 4,
    "train_batch_tokens": 512, "epoch_tokens": 50_000, "epochs": 2, "learning_rate": 0.01,
}  # fmt: skip


@pytest.fixture(scope="module")
def text() -> StagedText:
    return stage(load_arrays(GRAMMAR), GRAMMAR, "cpu")


def made(text, seed=0, options=None, should_stop=lambda: False, **params) -> LanguageModel:
    workload = LanguageModel(Context("cpu", seed, RealClock(), text, options or {}, should_stop))
    workload.build({**SMALL, **params})
    return workload


# --- learning


@pytest.fixture(scope="module")
def trained(text):
    """A workload, the epochs of its training, and the validation loss before and after."""
    workload = made(text)
    before = workload.evaluate("validation")["loss"]
    epochs = list(workload.train())
    return workload, epochs, before, workload.evaluate("validation")["loss"]


def test_untrained_it_guesses_and_trained_it_reads_context(trained, text):
    _, epochs, before, after = trained
    assert before == pytest.approx(log(256), abs=0.1)
    assert text.floor_nats_per_byte < after < 0.75 * text.unigram_nats_per_byte
    assert epochs[1].metrics["train_loss"] < epochs[0].metrics["train_loss"]


def test_an_epoch_counts_the_bytes_it_predicted(trained):
    _, epochs, _, _ = trained
    steps = 50_000 // 512
    assert [(e.index, e.units, e.complete) for e in epochs] == [(0, steps * 512, True), (1, steps * 512, True)]


def test_trained_weights_are_kept_and_put_back(trained, text):
    workload, _, _, after = trained
    kept = workload.state()
    other = made(text, seed=1)
    untrained = other.evaluate("validation")["loss"]
    other.load_state(kept)
    assert other.evaluate("validation")["loss"] == pytest.approx(after, rel=1e-6)
    other.load_state(made(text, seed=1).state())
    assert other.evaluate("validation")["loss"] == pytest.approx(untrained, rel=1e-6)


def test_it_writes_what_the_grammar_might(trained):
    """Greedy continuations of validation passages hold bytes of the text only, mostly letters and spaces."""
    workload, _, _, _ = trained
    written = workload.generation.request()
    assert written.shape == (3, 4)
    assert all(byte in b"abcdefghijklmnopqrstuvwxyz0123456789 .()+-=\n" for byte in written.flatten().tolist())


def test_a_seed_is_one_model_and_one_training(text):
    few = {"epoch_tokens": 2_048, "epochs": 1}
    losses = []
    for seed in (3, 3, 4):
        workload = made(text, seed, **few)
        losses.append(([e.metrics for e in workload.train()], workload.evaluate("validation")))
    assert losses[0] == losses[1] != losses[2]


def test_training_ends_when_time_is_up_and_says_so(text):
    asked = iter([False, False, True, True])
    [epoch] = made(text, should_stop=lambda: next(asked)).train()
    assert (epoch.units, epoch.complete) == (3 * 512, False)


def test_without_epochs_it_stays_untrained(text):
    workload = made(text, epochs=0)
    assert list(workload.train()) == []
    assert workload.evaluate("test")["loss"] == pytest.approx(log(256), abs=0.1)


@given(
    epoch_tokens=st.integers(1, 10_000),
    epochs=st.integers(1, 5),
    batch=st.integers(1, 2_000),
    length=st.integers(1, 600),
)
def test_the_rate_rises_and_falls(epoch_tokens, epochs, batch, length):
    schedule = Schedule(sequence_length=length, train_batch_tokens=batch, epoch_tokens=epoch_tokens, epochs=epochs)
    rates = [schedule.rate(step) for step in range(epochs * schedule.steps)]
    highest = rates.index(max(rates))
    assert min(rates) > 0
    assert max(rates) == pytest.approx(1)
    assert rates[: highest + 1] == sorted(rates[: highest + 1])
    assert rates[highest:] == sorted(rates[highest:], reverse=True)
    assert len(rates) < 10 or (rates[0] <= 1 / max(1, len(rates) // 10) and rates[-1] < 0.2)


# --- judging


@given(n=st.integers(2, 300), length=st.integers(1, 400))
def test_every_byte_but_the_first_is_predicted_once(n, length):
    text = torch.arange(n)
    seen = []
    for tokens, targets in windows_of(text, length):
        assert torch.equal(tokens + 1, targets)
        assert tokens.shape[1] <= length
        seen += targets.flatten().tolist()
    assert seen == list(range(1, n))


def test_the_loss_is_the_mean_over_the_bytes(text):
    """Against one window at a time, by the definition."""
    workload = made(text, sequence_length=16)
    content = text.validation.long()
    nats = 0.0
    with torch.inference_mode():
        for start in range(0, len(content) - 1, 16):
            window = content[start : start + 17]
            shares = workload.model(input_ids=window[None, :-1]).logits[0].log_softmax(-1)
            nats -= shares.gather(1, window[1:, None]).sum().item()
    scores = workload.evaluate("validation")
    assert scores["loss"] == pytest.approx(nats / (len(content) - 1), rel=1e-5)
    assert 2 ** scores["bits_per_byte"] == pytest.approx(exp(scores["loss"]))


def test_a_window_longer_than_the_split_is_cut(text):
    short = StagedText(text.train, text.validation[:40], text.test[:1], text.unigram_nats_per_byte)
    workload = made(short, sequence_length=64, prompt_tokens=8)
    assert workload.evaluate("validation")["loss"] == pytest.approx(log(256), abs=0.2)
    with pytest.raises(InputError, match=r"dataset: .*test split has 1 bytes.* 2"):
        workload.evaluate("test")


# --- the model and its prompts


def test_the_model_is_what_the_parameters_say(text):
    workload = made(text, hidden_size=48, layers=3, heads=3, sequence_length=64)
    config = workload.model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (48, 3, 3)
    assert (config.vocab_size, config.max_position_embeddings, config.tie_word_embeddings) == (256, 64, True)
    assert workload.model.lm_head.weight is workload.model.model.embed_tokens.weight
    assert workload.costs().parameters == sum(p.numel() for p in workload.model.parameters())
    assert (workload.settings.prompt_tokens, workload.settings.new_tokens) == (60, 4)


def test_prompts_are_passages_of_the_validation_text(text):
    content = bytes(text.validation.tolist())
    workload = made(text, seed=5)
    batches = workload.make_batches(workload.model.config)
    prompts = [bytes(row) for batch in batches for row in batch.tokens.tolist()]
    assert {len(prompt) for prompt in prompts} == {28}
    assert all(prompt in content for prompt in prompts)
    assert len(set(prompts)) > 20
    again = made(text, seed=5).make_batches(workload.model.config)
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(batches, again, strict=True))


def test_phases_are_those_asked_for(text):
    assert set(made(text).phases()) == {"prefill", "decode", "request"}
    phases = made(text, options={"phases": ["request"]}).phases()
    assert [(name, phase.units, phase.unit) for name, phase in phases.items()] == [("request", 12, "token")]
    phases["request"].prepare()
    phases["request"].step()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"heads": 5}, "heads = 5 .*hidden_size = 32"),
        ({"heads": 32}, "multiple of 2"),
        ({"new_tokens": 32}, "new_tokens = 32 .*sequence_length = 32"),
        ({"prompt_tokens": 30}, r"32 positions; prompt_tokens \+ new_tokens = 34"),
        ({"sequence_length": 155_000}, "sequence_length = 155000 .*155000"),
        ({"sequence_length": 6_000}, "5996 bytes .*validation"),
        ({"weights": "pretrained", "architecture": "gpt2"}, "vocabulary"),
    ],
)
def test_what_cannot_be_is_infeasible(text, params, message):
    with pytest.raises(InfeasibleError, match=message):
        made(text, **params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epochs": -1}, r"parameters\.epochs: .* 0 \(got -1\)"),
        ({"learning_rate": 0}, r"parameters\.learning_rate: .* 0 \(got 0"),
        ({"sequence_length": 2.5}, r"parameters\.sequence_length: .*\(got 2\.5\)"),
        ({"dtype": "bfloat16"}, r"parameters\.dtype: .*float32.*\(got 'bfloat16'\)"),
        ({"lerning_rate": 0.1}, r"parameters\.lerning_rate: .*did you mean 'learning_rate'"),
    ],
)
def test_bad_values_are_refused(text, params, message):
    with pytest.raises(InputError, match=message):
        made(text, **params)


def test_bad_options_and_data_are_refused(text):
    with pytest.raises(InputError, match=r"options\.phases: .*'reqest'; did you mean 'request'"):
        made(text, options={"phases": ["reqest"]}).phases()
    with pytest.raises(InputError, match=r"options\.prompts: .*\(allowed: phases\)"):
        made(text, options={"prompts": "x"})
    none = Split(torch.empty(0, 1, 1, 1), torch.empty(0, dtype=torch.int64))
    for data in (None, StagedImages(none, none, none, ("a",), (1, 1, 1), (0.0,), (1.0,), ())):
        with pytest.raises(InputError, match=r"dataset: .*\(allowed: grammar, text\)"):
            made(data)


def test_a_classifier_refuses_text(text):
    from joulebench.workloads.cnn import CNN

    with pytest.raises(InputError, match=r"dataset: .*CNN"):
        CNN(Context("cpu", 0, RealClock(), text)).build(
            {"width": 4, "depth": 1, "kernel": 3, "pool": False, "batch_size": 4}
        )


def test_training_flops_of_a_byte_by_hand(text):
    """6 FLOPs a weight of a matrix, and 12 · length · width a layer for attention; its norms have no known kernel
    but are means and products elementwise."""
    workload = made(text, train_batch_tokens=64)
    costs = with_training(Costs(), workload.built_model, workload.training_loss)
    config = workload.built_model.config
    width, inner = config.hidden_size, config.intermediate_size
    weights = 4 * width**2 + 3 * width * inner + 256 * width
    assert costs.phase_flops["train"] == 6 * weights + 12 * 32 * width
    assert costs.train_unsupported_ops == {}
