"""Models of libraries, folders and files: loaded as what they are, and refused by name where they do not fit."""

from __future__ import annotations

import json
import os
import pickle

import pytest
import torch
from torch import nn

from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.spec.registry import named_by_model
from joulebench.workloads.base import Context, workload_class
from joulebench.workloads.model_sources import HF_TASKS, KINDS

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 40,
}  # fmt: skip
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "sits", "runs", "."]
SPEECH = SIZES | {
    "conv_dim": (32, 32), "conv_kernel": (10, 3), "conv_stride": (5, 2), "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
#: For every task of hf: a model of transformers, its configuration, a sample's shape, and the shape of an output.
MODELS = {
    "audio-classification": ("Wav2Vec2ForSequenceClassification", SPEECH | {"num_labels": 3}, (800,), (3,)),
    "automatic-speech-recognition": ("Wav2Vec2ForCTC", SPEECH, (800,), (79, 40)),
    "feature-extraction": ("BertModel", SIZES, (9,), (9, 32)),
    "fill-mask": ("BertForMaskedLM", SIZES, (9,), (9, 40)),
    "image-classification": (
        "ViTForImageClassification",
        SIZES | {"image_size": 16, "patch_size": 8, "num_labels": 7},
        (3, 16, 16),
        (7,),
    ),
    "text-classification": ("BertForSequenceClassification", SIZES | {"num_labels": 3}, (9,), (3,)),
    "token-classification": ("BertForTokenClassification", SIZES | {"num_labels": 5}, (9,), (9, 5)),
}


def saved(task, folder):
    """A model with random weights, its weights away from those that a new one would have."""
    import transformers

    name, sizes, *_ = MODELS[task]
    model = getattr(transformers, name)
    made = model(model.config_class(**sizes)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    made.save_pretrained(folder)
    return made


def with_tokenizer(folder):
    from transformers import BertTokenizerFast

    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)


def built(params=None, **options):
    workload = workload_class("model")(Context("cpu", 0, RealClock(), None, options))
    workload.build({"batch_size": 4} | (params or {}))
    return workload


def test_every_task_of_transformers_is_tried():
    assert sorted(MODELS) == sorted(HF_TASKS)


@pytest.mark.parametrize("task", MODELS)
def test_a_model_of_transformers_runs_with_its_own_weights(task, tmp_path):
    made, (*_, shape, output) = saved(task, tmp_path), MODELS[task]
    workload = built(model=f"hf:{task}:{tmp_path}", input=list(shape))
    x = workload._inputs("validation")[:4]
    y = workload._built.predict(x)
    assert tuple(y.shape) == (4, *output)
    with torch.inference_mode():
        torch.testing.assert_close(y, made(x)[0], rtol=1e-4, atol=1e-5)
    half = built({"precision": "bf16"}, model=f"hf:{task}:{tmp_path}", input=list(shape))
    scores = half.evaluate("validation")
    assert 0 < scores["relative_error"] < 0.05
    assert ("cosine" in scores) == (task == "feature-extraction")
    assert half.outcomes()["weight_bytes"] == workload.outcomes()["weight_bytes"] / 2


@pytest.mark.parametrize(
    ("held", "asked", "said"),
    [
        ("feature-extraction", "text-classification", r"no fitting weights for classifier\.bias and 1 more"),
        ("text-classification", "feature-extraction", r"weights that the model lacks: classifier\.bias and 1 more"),
        ("text-classification", "fill-mask", r"no fitting weights for cls\."),
        ("image-classification", "text-classification", "cannot be loaded: Unrecognized configuration class"),
    ],
)
def test_a_folder_of_another_kind_is_refused(held, asked, said, tmp_path):
    saved(held, tmp_path)
    with pytest.raises(InputError, match=said):
        built(model=f"hf:{asked}:{tmp_path}", input=[9])


def test_a_damaged_folder_is_refused_by_the_names_of_weights(tmp_path):
    from safetensors.torch import load_file, save_file

    saved("text-classification", tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    save_file({k: v for k, v in state.items() if k != "classifier.weight"}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"no fitting weights for classifier\.weight \(.*BertForSequenceCl"):
        built(model=f"hf:text-classification:{tmp_path}", input=[9])
    save_file(state | {"classifier.weight": torch.zeros(5, 32)}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"classifier\.weight"):
        built(model=f"hf:text-classification:{tmp_path}", input=[9])


def test_texts_are_filled_up_and_the_filling_changes_nothing(tmp_path):
    made = saved("text-classification", tmp_path)
    with_tokenizer(tmp_path)
    (tmp_path / "texts").write_text("a cat sits .\n\ndog\na dog runs . a cat sits\n")
    workload = built(model=f"hf:text-classification:{tmp_path}", texts=str(tmp_path / "texts"))
    ids = workload._inputs("validation")
    assert ids.tolist()[1] == [2, 7, 3, 0, 0, 0, 0, 0, 0]
    alone = made(torch.tensor([[2, 7, 3]])).logits
    torch.testing.assert_close(workload._built.predict(ids)[1:2], alone, rtol=1e-4, atol=1e-5)
    short = built(model=f"hf:text-classification:{tmp_path}", texts=str(tmp_path / "texts"), input=[4])
    assert short._inputs("validation").shape == (3, 4)


def test_random_tokens_are_none_of_the_filling(tmp_path):
    saved("text-classification", tmp_path)
    workload = built(model=f"hf:text-classification:{tmp_path}", input=[100])
    drawn = workload._inputs("validation")
    assert drawn.min() == 1
    assert drawn.max() == 39


def sentence_model(folder):
    st = pytest.importorskip("sentence_transformers", reason="pip install 'joulebench[models]'")
    saved("feature-extraction", folder / "bert")
    with_tokenizer(folder / "bert")
    from sentence_transformers import models

    parts = [models.Transformer(str(folder / "bert"))]
    parts += [models.Pooling(32), models.Normalize()]
    st.SentenceTransformer(modules=parts, device="cpu").save(str(folder / "whole"))
    return st.SentenceTransformer(str(folder / "whole"), device="cpu")


def test_a_sentence_embedding_model_embeds_as_its_library_does(tmp_path):
    model = sentence_model(tmp_path)
    texts = ["a cat sits .", "dog", "a dog runs"]
    (tmp_path / "texts").write_text("\n".join(texts))
    workload = built(model=f"sentence-transformers:{tmp_path / 'whole'}", texts=str(tmp_path / "texts"))
    y = workload._built.predict(workload._inputs("validation"))
    torch.testing.assert_close(y, torch.as_tensor(model.encode(texts)), rtol=1e-4, atol=1e-5)
    assert workload.evaluate("validation")["cosine"] == pytest.approx(1)


def test_a_sentence_embedding_model_without_its_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    sentence_model(tmp_path)
    file = tmp_path / "whole" / "model.safetensors"
    state = load_file(file)
    gone = sorted(state)[0]
    save_file({k: v for k, v in state.items() if k != gone}, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=f"no fitting weights for {gone}"):
        built(model=f"sentence-transformers:{tmp_path / 'whole'}", input=[9])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none"):
        built(model=f"sentence-transformers:{tmp_path / 'none'}", input=[9])


def test_a_sentence_embedding_folder_runs_no_code_of_its_own(tmp_path, monkeypatch):
    """The library did until 6.0: the folder is refused before it is asked."""
    library = pytest.importorskip("sentence_transformers", reason="pip install 'joulebench[models]'")
    sentence_model(tmp_path)
    whole = tmp_path / "whole"
    parts = json.loads((whole / "modules.json").read_text())
    parts[-1]["type"] = "evil.Norm"
    (whole / "modules.json").write_text(json.dumps(parts))
    (whole / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    monkeypatch.setattr(library, "SentenceTransformer", lambda *_, **__: pytest.fail("the library was asked"))
    with pytest.raises(InputError, match=r"names evil\.Norm in modules\.json: a folder's own code is never run"):
        built(model=f"sentence-transformers:{whole}", input=[9])
    (whole / "modules.json").write_text('{"type": 3}')
    with pytest.raises(InputError, match="lists no modules"):
        built(model=f"sentence-transformers:{whole}", input=[9])
    assert not (tmp_path / "ran").exists()


def test_a_model_of_timm():
    pytest.importorskip("timm", reason="pip install 'joulebench[models]'")
    options = {"model": "timm:test_resnet", "input": [3, 32, 32], "arguments": {"num_classes": 10}}
    workload = built(**options)
    assert workload.outcomes()["weight_bytes"] > 4 * workload.costs().parameters > 0
    assert built({"channels_last": True}, **options).evaluate("validation")["relative_error"] < 1e-4
    with pytest.raises(InputError, match="timm has no 'test_resnot'; did you mean 'test_resnet'"):
        built(model="timm:test_resnot", input=[3, 32, 32])


def test_published_weights_come_from_the_library_s_cache(tmp_path, monkeypatch):
    import torchvision

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(7)
    state = torchvision.models.mobilenet_v3_small().state_dict()
    file = folder / torchvision.models.MobileNet_V3_Small_Weights.DEFAULT.url.rpartition("/")[2]
    torch.save(state, file)
    options = {"model": "torchvision:mobilenet_v3_small", "weights": "pretrained", "input": [3, 32, 32]}
    own = built(**options).built_model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in state.items())
    state.pop("classifier.3.bias")
    torch.save(state, file)
    with pytest.raises(InputError, match=r"no published weights here: RuntimeError: .*classifier\.3\.bias"):
        built(**options)


class Runs:
    """What a pickle may hold."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda folder: {"weight": torch.zeros(4, 2), "bias": torch.zeros(4)}, r"weight of shape \[4, 2\], where"),
        (lambda folder: [1, 2], r"holds no state dict \(list\)"),
        (lambda folder: {"state_dict": {}, "epoch": 3}, r"holds no state dict \('state_dict' is of type dict\)"),
        (lambda folder: {"weight": Runs(folder)}, "is no state dict, which is loaded without running code"),
        (lambda folder: nn.Linear(3, 4), "is no state dict, which is loaded without running code"),
    ],
)
def test_a_file_that_is_no_state_dict_is_refused_and_runs_nothing(content, said, tmp_path):
    torch.save(content(tmp_path / "ran"), tmp_path / "weights.pt")
    with pytest.raises(InputError, match=said):
        built(
            model="torch.nn:Linear", arguments={"in_features": 3, "out_features": 4}, input=[3],
            weights=str(tmp_path / "weights.pt"),
        )  # fmt: skip
    assert not (tmp_path / "ran").exists()


def test_arguments_of_a_constructor_load_no_weights(tmp_path):
    """Earlier versions of timm took pickles so, and no weight would be refused by its name."""
    pytest.importorskip("timm", reason="pip install 'joulebench[models]'")
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"options\.arguments: 'checkpoint_path' loads weights"):
        built(
            model="timm:test_resnet", arguments={"checkpoint_path": str(tmp_path / "weights.pt")}, input=[3, 32, 32]
        )


def test_a_bare_pickle_runs_nothing(tmp_path):
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    with pytest.raises(InputError, match="is no state dict"):
        built(model="torchvision:mobilenet_v3_small", input=[3, 32, 32], weights=str(tmp_path / "weights.pt"))
    assert not (tmp_path / "ran").exists()


def test_every_kind_of_model_names_what_it_is_loaded_from():
    named = {kind: named_by_model(f"{kind}:a:b") for kind in KINDS}
    assert named == {
        "torchvision": "", "timm": "", "hf": "b", "sentence-transformers": "a:b", "onnx": "a:b", "sklearn": "a:b",
    }  # fmt: skip
    assert named_by_model("my.module:Class") == "my.module:Class"


def onnx_needed():
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason="pip install 'joulebench[models]'")


def onnx_of(module, shape, file, **options):
    onnx_needed()
    example = (torch.zeros(shape),) if isinstance(shape, tuple) else tuple(map(torch.zeros, shape))
    torch.onnx.export(module.eval(), example, file, dynamo=False, **options)
    return f"onnx:{file}"


class Sum(nn.Module):
    """Of two inputs."""

    def forward(self, x, y):
        return x + y


def test_onnx_files_that_do_not_fit_are_refused(tmp_path):
    model = onnx_of(Sum(), [(2, 3), (2, 3)], tmp_path / "two.onnx", input_names=["left", "right"])
    with pytest.raises(InputError, match=r"has 2 inputs \(left, right\); one is needed"):
        built(model=model, input=[3])
    axes = {"dynamic_axes": {"input": {0: "n"}, "output": {0: "n"}}, "input_names": ["input"]}
    model = onnx_of(nn.Linear(3, 2), (2, 3), tmp_path / "one.onnx", output_names=["output"], **axes)
    assert built({"batch_size": 7}, model=model, input=[3]).evaluate("validation")["agreement"] == 1
    with pytest.raises(InputError, match=r"takes samples of shape \[3\], and the inputs' is \[4\]"):
        built(model=model, input=[4])
    (tmp_path / "none.onnx").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"none\.onnx' cannot be loaded"):
        built(model=f"onnx:{tmp_path / 'none.onnx'}", input=[3])


def test_an_onnx_model_of_whole_numbers(tmp_path):
    onnx_needed()
    file = tmp_path / "ids.onnx"
    torch.onnx.export(nn.Embedding(10, 6), (torch.zeros(4, 3, dtype=torch.int64),), file, dynamo=False)
    workload = built(model=f"onnx:{file}", input=[3], vocabulary=10)
    assert workload.evaluate("validation")["relative_error"] == 0
    assert workload.outcomes()["weight_bytes"] == 4 * 60
    with pytest.raises(InputError, match=r"takes whole numbers: options\.vocabulary"):
        built(model=f"onnx:{file}", input=[3])


def test_a_packaged_checkpoint_runs():
    """Magika, which tells types of files by 2,048 of their bytes."""
    from pathlib import Path

    magika = pytest.importorskip("magika", reason="pip install magika")
    onnx = pytest.importorskip("onnx", reason="pip install 'joulebench[models]'")
    (file,) = Path(magika.__file__).parent.glob("models/*/model.onnx")
    options = {"model": f"onnx:{file}", "input": [2048], "vocabulary": 257}
    plain, small = built(**options), built({"quantization": "int8_dynamic"}, **options)
    assert plain.outcomes()["weight_bytes"] == pytest.approx(file.stat().st_size, rel=0.02)
    assert small.outcomes()["weight_bytes"] < plain.outcomes()["weight_bytes"]
    assert small.evaluate("validation")["agreement"] > 0.9
    y = plain._built.predict(plain._built.prepared(plain._inputs("validation")[:4]))
    torch.testing.assert_close(y.sum(1), torch.ones(4))  # probabilities
    assert onnx.load(file).graph.input[0].name == "bytes"


def test_settings_of_a_folder_are_data_alone(tmp_path):
    """No code of a folder is run, though its configuration names some."""
    saved("text-classification", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "evil.Model", "AutoConfig": "evil.Config"}
    config["model_type"] = "evil"
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    with pytest.raises(InputError, match="cannot be loaded"):
        built(model=f"hf:text-classification:{tmp_path}", input=[9])
    assert not (tmp_path / "ran").exists()
