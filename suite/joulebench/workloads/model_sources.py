"""Models that people have, each by one line: torchvision, ONNX, scikit-learn, transformers, timm, own classes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from joulebench.errors import InputError, described, did_you_mean
from joulebench.host.files import expanded
from joulebench.spec.registry import import_object

Form = Literal["torch", "onnx", "sklearn"]

#: What stands before the first colon: the form of the model, the library's module, and its pip package.
KINDS: dict[str, tuple[Form, str, str]] = {
    "torchvision": ("torch", "torchvision", "torchvision"),
    "timm": ("torch", "timm", "timm"),
    "hf": ("torch", "transformers", "transformers"),
    "sentence-transformers": ("torch", "sentence_transformers", "sentence-transformers"),
    "onnx": ("onnx", "onnxruntime", "onnxruntime"),
    "sklearn": ("sklearn", "sklearn", "scikit-learn"),
}
#: Tasks of `hf:<task>:<folder>`: transformers' class, and the output that counts.
HF_TASKS = {
    "text-classification": ("AutoModelForSequenceClassification", "logits"),
    "image-classification": ("AutoModelForImageClassification", "logits"),
    "feature-extraction": ("AutoModel", "last_hidden_state"),
}
#: Weights of an untrained model are drawn with this seed, so that every configuration runs the same ones.
WEIGHTS_SEED = 0


@dataclass(frozen=True)
class Source:
    """Where a model comes from: `kind` is one of `KINDS`, or "own" for `package.module:Class`."""

    kind: str
    name: str
    weights: Path | None = None  # a state dict (.pt, .pth, .safetensors); None: random, or what the source holds
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the class or the constructor

    @property
    def form(self) -> Form:
        return KINDS[self.kind][0] if self.kind in KINDS else "torch"


def needed(module: str, package: str, what: str) -> Any:
    """Import a library that not every installation has.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{what} needs a library that is missing here: pip install {package} ({error})") from None


def parse(options: Mapping[str, Any]) -> Source:
    """The source that the options `model`, `weights` and `arguments` name; only paths are looked at.

    Raises:
        InputError: no such form, or a file or folder that is not there.
    """
    text = options.get("model")
    if not isinstance(text, str) or ":" not in text:
        forms = ", ".join([*(f"{kind}:…" for kind in KINDS), "module:Class"])
        raise InputError(f"options.model: must name a model as one of {forms} (got {text!r})")
    arguments = options.get("arguments", {})
    if not isinstance(arguments, Mapping):
        raise InputError(f"options.arguments: must be a table (got {arguments!r})")
    kind, _, name = text.partition(":")
    if kind not in KINDS:
        kind, name = "own", text
    weights = None
    if (given := options.get("weights", "random")) != "random":
        if kind not in ("torchvision", "timm", "own"):
            raise InputError(f"options.weights: the weights of '{text}' are its own (leave the option out)")
        weights = _existing(str(given), "options.weights")
    if kind in ("onnx", "sentence-transformers"):
        _existing(name, "options.model")
    if kind == "sklearn" and ":" not in name:
        _existing(name, "options.model")
    if kind == "hf":
        task, _, folder = name.partition(":")
        if task not in HF_TASKS:
            hint = did_you_mean(task, HF_TASKS)
            raise InputError(f"options.model: no task '{task}' of hf{hint} (allowed: {', '.join(HF_TASKS)})")
        _existing(folder, "options.model")
    return Source(kind, name, weights, arguments)


def _existing(path: str, where: str) -> Path:
    found = expanded(Path(path))
    if not path or not found.exists():
        raise InputError(f"{where}: there is no '{path}'")
    return found


def load_module(source: Source) -> nn.Module:
    """A torch module in fp32 on the CPU, in evaluation mode; equal weights at every call.

    Raises:
        InputError: it cannot be made, or its weights do not fit.
    """
    with _seeded():
        module = _made(source)
    if not isinstance(module, nn.Module):
        raise InputError(f"options.model: '{source.name}' must make a torch module (got {type(module).__name__})")
    if source.weights is not None:
        _load_weights(module, source.weights)
    return module.float().eval()


def load_estimator(source: Source) -> Any:
    """A scikit-learn estimator: from a joblib file (a pickle, which runs code), or made from its class, unfitted.

    Raises:
        InputError: there is none, or it has no `predict`.
    """
    needed("sklearn", "scikit-learn", f"the model 'sklearn:{source.name}'")
    if ":" in source.name:
        estimator = import_object(source.name, "options.model")(**source.arguments)
    else:
        joblib = needed("joblib", "joblib", f"the model 'sklearn:{source.name}'")
        try:
            estimator = joblib.load(expanded(Path(source.name)))
        except Exception as error:
            raise InputError(f"options.model: '{source.name}' cannot be loaded: {described(error)}") from None
    if not callable(getattr(estimator, "predict", None)):
        raise InputError(f"options.model: '{source.name}' has no predict ({type(estimator).__name__})")
    return estimator


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(WEIGHTS_SEED)
        yield


def _made(source: Source) -> Any:
    if source.kind == "own":
        return import_object(source.name, "options.model")(**source.arguments)
    module, package = KINDS[source.kind][1:]
    library = needed(module, package, f"the model '{source.kind}:{source.name}'")
    if source.kind == "torchvision":
        known = library.models.list_models()
        if source.name not in known:
            raise InputError(f"options.model: torchvision has no '{source.name}'{did_you_mean(source.name, known)}")
        return library.models.get_model(source.name, weights=None, **source.arguments)
    if source.kind == "timm":
        if not library.is_model(source.name):
            hint = did_you_mean(source.name, library.list_models())
            raise InputError(f"options.model: timm has no '{source.name}'{hint}")
        return library.create_model(source.name, pretrained=False, **source.arguments)
    if source.kind == "sentence-transformers":
        return _Embedder(library.SentenceTransformer(str(expanded(Path(source.name))), device="cpu"))
    task, _, folder = source.name.partition(":")
    return _from_transformers(library, task, expanded(Path(folder)))


def _from_transformers(library: Any, task: str, folder: Path) -> nn.Module:
    auto, output = HF_TASKS[task]
    library.utils.logging.disable_progress_bar()
    try:
        model, found = getattr(library, auto).from_pretrained(
            str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
            local_files_only=True, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise InputError(f"options.model: '{folder}' cannot be loaded: {reason}") from None
    missing = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    _refuse_keys(str(folder), sorted(missing), sorted(found["unexpected_keys"]))
    return _Output(model, output)


class _Output(nn.Module):
    """One tensor of a transformers model's output."""

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name
        self.vocabulary = getattr(model.config, "vocab_size", None)  # None: it takes images

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = getattr(self.model(x), self.name)
        return output


class _Embedder(nn.Module):
    """A sentence embedding model on token ids."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.vocabulary = len(model.tokenizer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.model({"input_ids": x, "attention_mask": torch.ones_like(x)})[
            "sentence_embedding"
        ]
        return output


def _load_weights(module: nn.Module, path: Path) -> None:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"options.weights: '{path}' cannot be loaded: {described(error)}") from None
    own = module.state_dict()
    if not isinstance(state, Mapping):
        raise InputError(f"options.weights: '{path}' holds no state dict ({type(state).__name__})")
    wrong = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
    _refuse_keys(str(path), sorted(wrong), sorted(set(state) - set(own)), "options.weights")
    module.load_state_dict(state)


def _refuse_keys(name: str, missing: list[str], unexpected: list[str], where: str = "options.model") -> None:
    for keys, what in ((missing, "has no fitting weights for"), (unexpected, "has weights that the model lacks:")):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise InputError(f"{where}: '{name}' {what} {keys[0]}{more}")
