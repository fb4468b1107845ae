"""Models that people have, each by one line: torchvision, ONNX, scikit-learn, transformers, timm, own classes."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from joulebench import extras
from joulebench.errors import InputError, described, did_you_mean, first_line
from joulebench.host.files import expanded
from joulebench.spec.reading import read_json
from joulebench.spec.registry import import_object
from joulebench.spec.toml import MAX_BYTES
from joulebench.workloads.model_inputs import load_tokenizer

Form = Literal["torch", "onnx", "sklearn"]

#: What stands before the first colon: the form of the model, and the library's module.
KINDS: dict[str, tuple[Form, str]] = {
    "torchvision": ("torch", "torchvision"),
    "timm": ("torch", "timm"),
    "hf": ("torch", "transformers"),
    "sentence-transformers": ("torch", "sentence_transformers"),
    "onnx": ("onnx", "onnxruntime"),
    "sklearn": ("sklearn", "sklearn"),
}
MAX_TOKENS = 4096  # of a text; some tokenizers name no limit
#: Tasks of `hf:<task>:<folder or hub name>`: transformers' class, and the output that counts.
HF_TASKS = {
    "audio-classification": ("AutoModelForAudioClassification", "logits"),
    "automatic-speech-recognition": ("AutoModelForCTC", "logits"),
    "feature-extraction": ("AutoModel", "last_hidden_state"),
    "fill-mask": ("AutoModelForMaskedLM", "logits"),
    "image-classification": ("AutoModelForImageClassification", "logits"),
    "text-classification": ("AutoModelForSequenceClassification", "logits"),
    "token-classification": ("AutoModelForTokenClassification", "logits"),
}
#: Kinds whose untrained models are made by name, and which therefore may be given weights.
MADE = ("torchvision", "timm", "own")
#: Arguments of timm's constructor that load weights, in some of its versions from pickles that run code.
LOADING = ("checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay")
#: Weights of an untrained model are drawn with this seed, so that every configuration runs the same ones.
WEIGHTS_SEED = 0


@dataclass(frozen=True)
class Source:
    """Where a model comes from: `kind` is one of `KINDS`, or "own" for `package.module:Class`."""

    kind: str
    name: str
    weights: Path | Literal["pretrained"] | None = None  # a state dict's file; None: random, or the source's own
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the class or the constructor

    @property
    def form(self) -> Form:
        return KINDS[self.kind][0] if self.kind in KINDS else "torch"

    @property
    def embeds(self) -> bool:
        """Whether outputs are vectors with a direction, and not scores of classes."""
        return self.kind == "sentence-transformers" or self.name.startswith("feature-extraction:")


def needed(module: str) -> Any:
    """Import a library that not every installation has.

    Raises:
        InputError: it is missing here, or broken.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a library that does not fit its neighbours fails in any way while it is imported
        if (lacking := extras.missing(error)) is not None:
            raise lacking from None
        raise InputError(f"{module}: cannot be imported here ({described(error)})") from None


def check_installed(modules: Iterable[str], what: str) -> None:
    """Look for libraries, without importing them.

    Raises:
        MissingExtraError: one is missing.
    """
    for module in modules:
        if (lacking := extras.missing(ModuleNotFoundError(name=module), what)) is not None:
            raise lacking


def parse(options: Mapping[str, Any]) -> Source:
    """The source that the options `model`, `weights` and `arguments` name; only paths are looked at.

    Raises:
        InputError: no such form, a file or folder that is not there, or a library that is missing.
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
        if "." not in kind and importlib.util.find_spec(kind) is None and (hint := did_you_mean(kind, KINDS)):
            raise InputError(f"options.model: no kind of model '{kind}'{hint}")
        kind, name = "own", text
    else:
        check_installed((KINDS[kind][1],), f"options.model: '{text}'")
    if kind == "timm" and (loading := next((name for name in LOADING if name in arguments), None)):
        raise InputError(f"options.arguments: '{loading}' loads weights (options.weights names those)")
    weights: Path | Literal["pretrained"] | None = None
    if (given := options.get("weights", "random")) != "random":
        if kind not in MADE:
            raise InputError(f"options.weights: the weights of '{text}' are its own (leave the option out)")
        if given == "pretrained" and kind == "own":
            raise InputError("options.weights: 'pretrained' is torchvision's and timm's; give a file")
        weights = "pretrained" if given == "pretrained" else _existing(str(given), "options.weights")
    if kind == "onnx" or (kind == "sklearn" and ":" not in name):
        _existing(name, "options.model")
    if kind == "sentence-transformers":
        _folder_or_hub(name)
    if kind == "hf":
        task, _, folder = name.partition(":")
        if task not in HF_TASKS:
            hint = did_you_mean(task, HF_TASKS)
            raise InputError(f"options.model: no task '{task}' of hf{hint} (allowed: {', '.join(HF_TASKS)})")
        _folder_or_hub(folder)
    return Source(kind, name, weights, arguments)


def _folder_or_hub(name: str) -> str:
    """The path of a folder, or OWNER/NAME of a model on the hub, which is looked for in the hub's cache first."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith(".") and not expanded(Path(name)).exists():
        return name
    found = _existing(name, "options.model")
    if not found.is_dir():
        raise InputError(f"options.model: '{name}' must be a folder")
    return str(found)


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
    try:
        with _seeded():
            module = _made(source)
    except TypeError as error:
        raise InputError(f"options.arguments: '{source.name}' cannot be made: {error}") from None
    if not isinstance(module, nn.Module):
        raise InputError(f"options.model: '{source.name}' must make a torch module (got {type(module).__name__})")
    if isinstance(source.weights, Path):
        _load_weights(module, source.weights)
    return module.float().eval()


def load_estimator(source: Source) -> Any:
    """A scikit-learn estimator: from a joblib file (a pickle, which runs code), or made from its class, unfitted.

    Raises:
        InputError: there is none, or it has no `predict`.
    """
    if ":" in source.name:
        try:
            estimator = import_object(source.name, "options.model")(**source.arguments)
        except TypeError as error:
            raise InputError(f"options.arguments: '{source.name}' cannot be made: {error}") from None
    else:
        try:
            estimator = needed("joblib").load(expanded(Path(source.name)))
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
    library = needed(KINDS[source.kind][1])
    if source.kind == "torchvision":
        known = library.models.list_models()
        if source.name not in known:
            raise InputError(f"options.model: torchvision has no '{source.name}'{did_you_mean(source.name, known)}")
        weights = "DEFAULT" if source.weights == "pretrained" else None
        with _published(source):
            return library.models.get_model(source.name, weights=weights, **source.arguments)
    if source.kind == "timm":
        if not library.is_model(source.name):
            hint = did_you_mean(source.name, library.list_models())
            raise InputError(f"options.model: timm has no '{source.name}'{hint}")
        with _published(source):
            return library.create_model(source.name, pretrained=source.weights == "pretrained", **source.arguments)
    if source.kind == "sentence-transformers":
        return _sentence_transformer(library, _folder_or_hub(source.name))
    task, _, folder = source.name.partition(":")
    auto, output = HF_TASKS[task]
    return _Output(_checked(library, auto, _folder_or_hub(folder)), output)


@contextmanager
def _published(source: Source) -> Iterator[None]:
    """One line for published weights that are neither in a cache nor to be had."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:  # those that do not fit, too
        if source.weights != "pretrained":
            raise
        raise InputError(
            f"options.weights: '{source.name}' has no published weights here: {described(error)}"
        ) from None


def _checked(library: Any, auto: str, folder: str) -> Any:
    """A model of transformers, of the very kind that the folder holds: no weight is new, and none is left out.

    Raises:
        InputError: it cannot be loaded, or is of another kind.
    """
    library.utils.logging.disable_progress_bar()
    try:
        with _quiet(library):
            model, found = getattr(library, auto).from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise InputError(f"options.model: '{folder}' cannot be loaded: {first_line(error)}") from None
    missing = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    kind = f" ({auto}; it holds {', '.join(model.config.architectures or ['an unnamed kind'])})"
    _refuse_keys(folder, sorted(missing), sorted(found["unexpected_keys"]), kind=kind)
    return model


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """No report on keys: they are refused in one line of our own."""
    before = library.utils.logging.get_verbosity()
    library.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        library.utils.logging.set_verbosity(before)


def _sentence_transformer(library: Any, folder: str) -> nn.Module:
    transformers = needed("transformers")
    parts = _parts_of(Path(folder))  # before the library, which until 6.0 ran a folder's code without being told to
    try:
        with _quiet(transformers):
            model = library.SentenceTransformer(
                folder, device="cpu", trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise InputError(f"options.model: '{folder}' cannot be loaded: {first_line(error)}") from None
    for kind, path in parts:  # the library says nothing of weights that are missing
        if kind.endswith(".Transformer"):
            _checked(transformers, "AutoModel", str(Path(folder) / path))
    return _Embedder(model)


def _parts_of(folder: Path) -> list[tuple[str, str]]:
    """Type and path of each module of a sentence-transformers folder; none of a model on the hub.

    Raises:
        InputError: the folder holds no such model, or one with code that is not the library's.
    """
    if not folder.is_dir():
        return []
    if not (folder / "modules.json").is_file():
        raise InputError(f"options.model: '{folder}' is no sentence-transformers model: it has no modules.json")
    read = read_json(folder / "modules.json", MAX_BYTES, follow=True)
    try:
        parts = [(str(part["type"]), str(part["path"])) for part in read]
    except (KeyError, TypeError):
        raise InputError(f"options.model: '{folder}' cannot be loaded: modules.json lists no modules") from None
    if other := next((kind for kind, _ in parts if not kind.startswith("sentence_transformers.")), None):
        raise InputError(
            f"options.model: '{folder}' names {other} in modules.json: a folder's own code is never run"
        )
    return parts


class _Output(nn.Module):
    """One tensor of a transformers model's output.

    Attributes:
        vocabulary: token ids lie below it; None where the model takes no tokens.
        pad: the token that fills shorter texts, and is masked.
    """

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model, self.name, self.taken = model, name, str(model.main_input_name)
        tokens = self.taken == "input_ids"
        self.vocabulary = int(model.config.vocab_size) if tokens else None
        self.pad: int | None = getattr(model.config, "pad_token_id", None) if tokens else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = {self.taken: x} | ({} if self.pad is None else {"attention_mask": (x != self.pad).long()})
        output: torch.Tensor = getattr(self.model(**given), self.name)
        return output


class _Embedder(nn.Module):
    """A sentence embedding model on token ids; its attributes are those of `_Output`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.tokenizer = model, model.tokenizer
        self.vocabulary, self.pad = len(model.tokenizer), model.tokenizer.pad_token_id

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.ones_like(x) if self.pad is None else (x != self.pad).long()
        output: torch.Tensor = self.model({"input_ids": x, "attention_mask": mask})["sentence_embedding"]
        return output


def tokens(source: Source, module: nn.Module, texts: Sequence[str], most: int | None) -> torch.Tensor:
    """Token ids of texts, by the model's own tokenizer, cut at `most`, all filled up to the length of the longest.

    Raises:
        InputError: the model has no tokenizer, or none that can fill up.
    """
    tokenizer = getattr(module, "tokenizer", None)
    if source.kind == "hf" and getattr(module, "vocabulary", None) is not None:
        folder = _folder_or_hub(source.name.partition(":")[2])
        tokenizer = load_tokenizer(folder, f"options.texts: '{folder}' has no tokenizer")
    if tokenizer is None:
        raise InputError(f"options.texts: '{source.name}' takes no texts")
    limit = min(n for n in (most, tokenizer.model_max_length, MAX_TOKENS) if n is not None)
    rows = tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
    pad, length = module.pad, max(map(len, rows))
    if pad is None and any(len(row) < length for row in rows):
        raise InputError(f"options.texts: '{source.name}' has no padding token, and the texts differ in length")
    return torch.tensor([[*row, *[pad] * (length - len(row))] for row in rows])


def _load_weights(module: nn.Module, path: Path) -> None:
    try:
        if path.suffix == ".safetensors":
            state = needed("safetensors.torch").load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"options.weights: '{path}' cannot be read: {error.strerror}") from None
    except Exception as error:  # torch's own text would have the file loaded with the code that it holds
        kind = type(error).__name__
        raise InputError(
            f"options.weights: '{path}' is no state dict, which is loaded without running code ({kind})"
        ) from None
    if not isinstance(state, Mapping) or not state:
        raise InputError(f"options.weights: '{path}' holds no state dict ({type(state).__name__})")
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise InputError(
                f"options.weights: '{path}' holds no state dict ({name!r} is of type {type(value).__name__})"
            )
    own = module.state_dict()
    for name, value in own.items():
        if name in state and state[name].shape != value.shape:
            raise InputError(
                f"options.weights: '{path}' has {name} of shape {list(state[name].shape)}, "
                f"where the model has {list(value.shape)}"
            )
    _refuse_keys(str(path), sorted(set(own) - set(state)), sorted(set(state) - set(own)), "options.weights")
    module.load_state_dict(state)


def _refuse_keys(
    name: str, missing: list[str], unexpected: list[str], where: str = "options.model", kind: str = ""
) -> None:
    for keys, what in ((missing, "has no fitting weights for"), (unexpected, "has weights that the model lacks:")):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise InputError(f"{where}: '{name}' {what} {keys[0]}{more}{kind}")
