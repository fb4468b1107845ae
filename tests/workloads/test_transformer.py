"""The transformer workload: what it builds, measures, refuses, and lets go of."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, BertForSequenceClassification

from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.measurement.bench import Bench
from joulebench.measurement.harness import Request, run_trial
from joulebench.measurement.timeline import Timeline
from joulebench.meters.replay import PowerTrace, ReplayMeter
from joulebench.spec.task import Task
from joulebench.workloads import transformer
from joulebench.workloads.architectures import architecture_names, read_architecture
from joulebench.workloads.base import Context, InfeasibleError, workload_class
from joulebench.workloads.generation_settings import Settings
from joulebench.workloads.transformer import Transformer, random_model
from tests.language_models import build, miniature_config
from tests.workloads.test_prompts import tokenizer  # noqa: F401

SIZES = {"batch_size": 2, "prompt_tokens": 6, "new_tokens": 3}


def made(options=None, **params):
    workload = Transformer(Context("cpu", 0, RealClock(), options=options or {}))
    workload.build(params)
    return workload


def test_is_shipped():
    assert workload_class("transformer") is Transformer


@pytest.mark.parametrize("name", architecture_names())
def test_random_weights_are_the_architectures_own(name):
    """Same logits as a model that transformers built itself, given the same weights: buffers are right too."""
    model = random_model(miniature_config(name), torch.float32, "sdpa", seed=0, device="cpu").eval()
    theirs = AutoModelForCausalLM.from_config(miniature_config(name), attn_implementation="sdpa").eval()
    theirs.load_state_dict(model.state_dict())
    tokens = torch.randint(500, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, theirs(tokens).logits, rtol=0, atol=0)
    for (own_name, own), (their_name, their) in zip(model.named_buffers(), theirs.named_buffers(), strict=True):
        assert own_name == their_name
        torch.testing.assert_close(own, their, rtol=0, atol=0)
    embedding = model.get_input_embeddings().weight
    assert float(embedding.detach().std()) == pytest.approx(0.02, rel=0.05)
    tied = model.get_output_embeddings().weight is embedding
    assert tied == read_architecture(name).config["tie_word_embeddings"]
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in theirs.parameters())


def test_the_seed_decides_the_weights():
    def first(seed):
        model = random_model(miniature_config("tiny"), torch.float32, "sdpa", seed, "cpu")
        return model.get_input_embeddings().weight

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_are_made_once_in_their_dtype(dtype, monkeypatch):
    """The largest allocation is the largest weight, and none is made in another dtype or twice for tied weights."""
    allocated = []
    real = torch.empty_like

    def empty_like(tensor, **kwargs):
        if kwargs.get("device") == "cpu":
            allocated.append((tensor.dtype, tensor.numel()))
        return real(tensor, **kwargs)

    monkeypatch.setattr(torch, "empty_like", empty_like)
    model = random_model(miniature_config("gpt2"), dtype, "sdpa", 0, "cpu")
    assert {kind for kind, _ in allocated} == {dtype}
    assert sum(count for _, count in allocated) == sum(p.numel() for p in model.parameters())


def test_rotary_positions_stay_in_float32():
    model = random_model(miniature_config("llama-3.1-8b"), torch.bfloat16, "sdpa", 0, "cpu")
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32


def test_phases_and_their_units():
    phases = made(**SIZES).phases()
    assert [(name, p.units, p.unit, p.timed) for name, p in phases.items()] == [
        ("prefill", 12, "prompt_token", True),
        ("decode", 4, "token", True),
        ("request", 6, "token", True),
    ]
    for phase in phases.values():
        phase.prepare()
        assert phase.step() is None
        assert phase.step() is None
    assert list(made(**{**SIZES, "new_tokens": 1}).phases()) == ["prefill", "request"]


def test_defaults_are_those_documented():
    workload = made()
    assert workload.settings == Settings()
    assert Settings().model_dump() == {
        "architecture": "tiny", "batch_size": 1, "prompt_tokens": 32, "new_tokens": 16, "dtype": "float32",
        "quantization": "none", "attention": "sdpa", "cache": "dynamic", "compile": False, "weights": "random",
        "answer_tokens": None,
    }  # fmt: skip
    assert workload.state() is None
    assert workload.evaluate("validation") == {}


def test_outcomes_and_costs():
    workload = made(**SIZES)
    assert set(workload.outcomes()) == {"decode_restore_share", "weight_bytes"}
    costs = workload.costs()
    assert costs.parameters == 1_250_432
    assert set(costs.phase_flops) == {"prefill", "decode", "request"}
    assert costs.unsupported_ops == {}
    assert made(**{**SIZES, "new_tokens": 1}).outcomes() == {"weight_bytes": 4 * costs.parameters}


def test_the_bench_runs_it():
    """A trial in real time, its power from a table: tokens per joule of decoding, and prompt tokens of prefill."""
    energy = {"goal": "maximize", "reference": 0.0, "domains": ["cpu"], "basis": "gross"}
    task = Task.model_validate(
        {
            "name": "toy", "title": "toy", "workload": "transformer",
            "parameters": {"batch_size": {"type": "int", "low": 1, "high": 8, "default": 2}},
            "objectives": {
                "tokens_per_j": {**energy, "phase": "decode"},
                "prompt_tokens_per_j": {**energy, "phase": "prefill"},
            },
            "stages": {"default": {"method": "default", "repeats": 1}},
            "protocol": {"warmup_s": 0.05, "max_warmup_s": 0.2, "window_s": 0.05, "repeats": 2, "max_repeats": 3,
                         "idle_s": 0.0},
        }
    )  # fmt: skip
    clock = RealClock()
    timeline = Timeline(ReplayMeter([PowerTrace("cpu", (0.0,), (10.0,))], clock, "test"), clock)
    timeline.start()
    record = run_trial(
        Bench(task, "cpu", clock, timeline), Request(0, 0, "default", "default", {"batch_size": 2}, 7)
    ).record
    assert (record.status, record.error) == ("ok", None)
    assert record.unit == {"prefill": "prompt_token", "decode": "token", "request": "token"}
    assert record.metrics["decode_restore_share"] < 0.05
    assert record.costs.phase_flops["prefill"] > 0
    windows = [w for w in record.windows if w.phase == "decode"]
    assert all(w.units == 2 * 15 * w.steps and len(w.step_s) == w.steps for w in windows)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_closing_lets_go_of_everything(cache):
    workload = build("gemma-3-4b", cache=cache, **SIZES)
    phases = workload.phases()  # the harness still holds them
    phases["prefill"].step()
    phases["decode"].prepare()
    phases["decode"].step()
    generation = workload.generation
    kept = [weakref.ref(p) for p in workload.model.parameters()]
    kept += [weakref.ref(workload.model), weakref.ref(next(generation._batches).tokens)]
    kept += [weakref.ref(layer.keys) for layer in generation._decoding.cache.layers]
    workload.close()
    gc.collect()
    assert [ref() for ref in kept] == [None] * len(kept)
    with pytest.raises(ValueError, match="build the model first"):
        workload.phases()
    workload.close()  # twice is no harm


@pytest.mark.parametrize("where", ["_materialise", "Generation"])
def test_memory_that_runs_out_while_building_is_released(monkeypatch, where):
    seen = []

    def fail(model, *rest):
        seen.extend(weakref.ref(p) for p in model.parameters())
        raise MemoryError

    monkeypatch.setattr(transformer, where, fail)
    workload = Transformer(Context("cpu", 0, RealClock()))
    with pytest.raises(MemoryError):
        workload.build({"layers": 2})
    workload.close()
    gc.collect()
    assert seen
    assert all(ref() is None for ref in seen)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"architecture": "lama"}, r"no architecture 'lama'; did you mean 'llama"),
        ({"architecture": 3}, r"parameters\.architecture: .*\(got 3\)"),
        ({"batch_size": 0}, r"parameters\.batch_size: .* 1 \(got 0\)"),
        ({"prompt_tokens": 1.5}, r"parameters\.prompt_tokens: .*\(got 1\.5\)"),
        ({"layers": True}, r"parameters\.layers: .*\(got True\)"),
        ({"dtype": "float23"}, r"parameters\.dtype: .*'bfloat16'.*\(got 'float23'; did you mean 'float32'\?\)"),
        ({"cache": "none"}, r"parameters\.cache: .*'dynamic' or 'static' \(got 'none'"),
        ({"compile": 1}, r"parameters\.compile: .*\(got 1\)"),
        ({"new_token": 4}, r"parameters\.new_token: .*did you mean 'new_tokens'\?"),
        ({"weights": "pretrained", "architecture": "./nowhere"}, r"architecture: .*'./nowhere'"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(params, message):
    with pytest.raises(InputError, match=message) as caught:
        made(**params)
    assert "\n" not in str(caught.value)


def test_parameters_of_others_are_left_alone():
    assert made(power_limit_w=300, epochs=3).settings == Settings()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"compile": True}, "compile needs cache = 'static'"),
        ({"attention": "flash_attention_2", "dtype": "bfloat16"}, "'flash_attention_2' .* cpu"),
        ({"architecture": "gpt2", "prompt_tokens": 1000, "new_tokens": 25}, "gpt2 .*1024 .* = 1025"),
        ({"hidden_size": 100, "heads": 6}, "heads = 6 .*hidden_size = 100"),
        ({"weights": "pretrained"}, r"architecture 'tiny' has no published weights.* weights = 'random'"),
    ],
)
def test_what_does_not_go_together_is_infeasible(params, message):
    with pytest.raises(InfeasibleError, match=message):
        made(**params)


def test_options_are_checked():
    with pytest.raises(InputError, match=r"options.prompt: no such option; did you mean 'prompts'\?"):
        Transformer(Context("cpu", 0, RealClock(), options={"prompt": "x"}))
    with pytest.raises(InputError, match=r"options.prompts: needs options.tokenizer"):
        made({"prompts": __file__})


def test_prompts_of_a_file(tmp_path, tokenizer):  # noqa: F811
    path = tmp_path / "prompts.txt"
    path.write_text("the cat sat\nthe dog sat on the mat\nthe mat\n")
    workload = made({"prompts": str(path), "tokenizer": str(tokenizer)}, **SIZES)
    (batch,) = workload.make_batches(workload.model.config)
    assert batch.tokens.tolist() == [[0, 0, 0, 1, 2, 3], [1, 0, 3, 4, 1, 5]]
    assert workload.generation.request().shape == (2, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with trained weights, as far as anyone can tell."""
    folder = tmp_path_factory.mktemp("model")
    random_model(miniature_config("gemma-3-4b"), torch.float32, "sdpa", 4, "cpu").save_pretrained(folder)
    return folder


def test_weights_from_a_folder(folder):
    workload = made(architecture=str(folder), weights="pretrained", **SIZES)
    expected = random_model(miniature_config("gemma-3-4b"), torch.float32, "sdpa", 4, "cpu")
    for (name, own), (_, theirs) in zip(
        workload.model.named_parameters(), expected.named_parameters(), strict=True
    ):
        torch.testing.assert_close(own, theirs, msg=name)
    assert workload.generation.request().shape == (2, 3)
    assert workload.costs().phase_flops["prefill"] > 0
    with pytest.raises(InfeasibleError, match="the model has layers = 7, heads = 4; set it so"):
        made(architecture=str(folder), weights="pretrained", hidden_size=80, layers=2, heads=2, vocabulary=500)
    half = made(architecture=str(folder), weights="pretrained", dtype="bfloat16", **SIZES)
    assert {p.dtype for p in half.model.parameters()} == {torch.bfloat16}


def test_weights_of_each_architecture_from_a_folder_of_models(folder, tmp_path):
    (tmp_path / "gemma-3-4b").symlink_to(folder)
    options = {"models": str(tmp_path)}
    workload = made(options, architecture="gemma-3-4b", weights="pretrained", heads=4, **SIZES)
    assert workload.built_model.config.num_hidden_layers == 7
    with pytest.raises(InfeasibleError, match=r"options.models: '.*' holds no folder 'gpt2'"):
        made(options, architecture="gpt2", weights="pretrained", **SIZES)
    with pytest.raises(InputError, match=r"options.models: no folder 'nowhere'"):
        made({"models": "nowhere"}, architecture="gpt2", weights="pretrained", **SIZES)


def test_weights_must_be_safetensors(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"architecture: '.*' cannot be loaded: .*safetensors"):
        made(architecture=str(tmp_path), weights="pretrained")


def test_a_model_of_another_kind_is_refused_by_name(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(vocab_size=50, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"architecture: .* is a BertForSequenceClassification.*BertLMHeadModel"):
        made(architecture=str(tmp_path), weights="pretrained", **SIZES)


def test_weights_that_are_not_all_there_are_refused(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    weights = load_file(folder / "model.safetensors")
    lost = sorted(name for name in weights if name.endswith("mlp.up_proj.weight"))
    kept = {name: weight for name, weight in weights.items() if name not in lost}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"has no fitting weights for {lost[0]} and {len(lost) - 1} more"):
        made(architecture=str(tmp_path), weights="pretrained", **SIZES)


def test_no_model_in_the_folder(tmp_path):
    with pytest.raises(InputError, match=r"architecture: '.*' cannot be loaded: ") as caught:
        made(architecture=str(tmp_path), weights="pretrained")
    assert "\n" not in str(caught.value)


def test_a_model_that_also_sees(tmp_path):
    """Gemma 3 as published has a vision tower; text runs past it, and its cache is the language model's."""
    from transformers import AutoConfig

    text = miniature_config("gemma-3-4b").to_dict()
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "vision_use_head": False,
    }  # fmt: skip
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=4)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    for cache in ("dynamic", "static"):
        workload = made(architecture=str(tmp_path), weights="pretrained", cache=cache, **SIZES)
        model = workload.model
        assert hasattr(model.model, "vision_tower")
        batch = next(workload.generation._batches)
        model.generation_config.eos_token_id = None
        expected = model.generate(
            batch.tokens, attention_mask=torch.ones_like(batch.tokens), do_sample=False, max_new_tokens=3
        )
        for _ in range(7):
            workload.generation.request()  # the other seven batches
        torch.testing.assert_close(workload.generation.request(), expected[:, 6:])
        assert workload.costs().macs > 0
        workload.close()


@pytest.mark.parametrize("quantization", ["int8_dynamic", "int8_weight"])
def test_quantised_weights_are_packed_counted_and_nearly_the_same(quantization):
    """Of linear layers in float32, all but 2 % of the weights here, int8 keeps a quarter of the bytes."""
    if quantization == "int8_weight":
        pytest.importorskip("torchao", reason="pip install 'joulebench[models]'")
    sizes = {**SIZES, "architecture": "custom", "hidden_size": 256, "heads": 4, "layers": 2, "vocabulary": 64}
    plain, packed = made(**sizes), made(**sizes, quantization=quantization)
    before, after = (workload.outcomes()["weight_bytes"] for workload in (plain, packed))
    assert before == pytest.approx(4 * plain.costs().parameters, rel=0.01)
    assert 0.25 < after / before < 0.32
    assert packed.costs() == plain.costs()
    tokens = torch.randint(64, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        outputs = [workload.model(tokens).logits for workload in (plain, packed)]
    assert 0 < float((outputs[1] - outputs[0]).norm() / outputs[0].norm()) < 0.1


def test_quantisation_that_cannot_be_is_refused():
    with pytest.raises(InfeasibleError, match="int8_dynamic' needs dtype = 'float32'"):
        made(**SIZES, quantization="int8_dynamic", dtype="bfloat16")
    with pytest.raises(InputError, match="quantization"):
        made(**SIZES, quantization="int9")
