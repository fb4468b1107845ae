"""`joulebench card`, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from huggingface_hub import RepoCard

from joulebench.cards import make_card
from joulebench.cards.merging import BEGIN, END
from joulebench.spec.registry import CARDS
from tests.card_subjects import GRID
from tests.commands.calling import call
from tests.run_factory import full_run

BOAMPS = ("--set", "infrastructure.infraType=onPremise")
ENVIRONMENT = {"host": {"cpu": "Example CPU", "logical_cpus": 8}}


@pytest.fixture
def folder(tmp_path):
    return full_run().write(tmp_path / "run", hardware=GRID, environment=ENVIRONMENT)


def test_the_card_is_printed_and_the_choice_told_beside_it(folder, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "card", folder.path)
    assert code == 0
    assert out == make_card(folder).text
    assert out.startswith("---\n")
    assert "the best in val_accuracy" in err


@pytest.mark.parametrize("name", CARDS.shipped)
def test_every_format_goes_to_a_file_the_same_twice(folder, monkeypatch, capsys, tmp_path, name):
    out = tmp_path / "card"
    arguments = (
        "card",
        folder.path,
        "--format",
        name,
        "--trial",
        0,
        "--out",
        out,
        *(BOAMPS if name == "boamps" else ()),
    )
    assert call(monkeypatch, capsys, *arguments)[0] == 0
    once = out.read_bytes()
    assert call(monkeypatch, capsys, *arguments, "--force")[0] == 0
    assert out.read_bytes() == once
    if name != "hf":
        keys = list(json.loads(once))
        assert keys == sorted(keys)
        assert once.endswith(b"}\n")


@pytest.mark.parametrize("command", ["card", "export"])
def test_a_file_that_exists_is_left_as_it_is(folder, monkeypatch, capsys, tmp_path, command):
    out = tmp_path / "notes.txt"
    out.write_text("written by hand")
    code, _, err = call(monkeypatch, capsys, command, folder.path, "--out", out)
    assert code == 2
    assert "--force" in err
    assert out.read_text() == "written by hand"
    assert call(monkeypatch, capsys, command, folder.path, "--out", out, "--force")[0] == 0
    assert out.read_text() != "written by hand"


WRITTEN = """---
# of ours
license: apache-2.0
tags:
- vision
model-index:
- name: mine
  results: []
---
# My model

By hand.
"""


def test_a_hand_written_card_keeps_its_text(folder, monkeypatch, capsys, tmp_path):
    out = tmp_path / "README.md"
    out.write_text(WRITTEN)
    assert call(monkeypatch, capsys, "card", folder.path, "--out", out, "--set", "library_name=timm")[0] == 0
    once = out.read_text()
    assert "# of ours\nlicense: apache-2.0\n" in once
    assert "\n# My model\n\nBy hand.\n" in once
    card, ours = RepoCard(once), RepoCard(make_card(folder).text)
    assert card.data.tags == ["vision", "joulebench", "energy"]
    assert (card.data.license, card.data.library_name) == ("apache-2.0", "timm")
    index = card.data.to_dict()["model-index"]
    assert [entry["name"] for entry in index] == ["mine", ours.data.to_dict()["model-index"][0]["name"]]
    assert ours.text.strip() in once
    out.write_text(once + "More by hand.\n")
    assert call(monkeypatch, capsys, "card", folder.path, "--out", out, "--set", "library_name=timm")[0] == 0
    assert out.read_text() == once + "More by hand.\n"
    assert call(monkeypatch, capsys, "card", folder.path, "--out", out, "--set", "license=mit")[0] == 0
    assert RepoCard(out.read_text()).data.license == "mit"
    assert call(monkeypatch, capsys, "card", folder.path, "--out", out, "--force")[0] == 0
    assert "by hand" not in out.read_text().lower()


@pytest.mark.parametrize("before", [f"{END}\n{BEGIN}\n", BEGIN, "---\na: [\n---\n", "---\n- a\n---\n", b"\xff"])
def test_what_cannot_be_merged_stays(folder, monkeypatch, capsys, tmp_path, before):
    out = tmp_path / "README.md"
    out.write_bytes(content := before if isinstance(before, bytes) else before.encode())
    code, _, err = call(monkeypatch, capsys, "card", folder.path, "--out", out)
    assert (code, err.count("\n"), "--force" in err) == (2, 1, True)
    assert out.read_bytes() == content


def test_a_pipe_is_written_to_and_permissions_stay(folder, monkeypatch, capsys, tmp_path):
    private, pipe = tmp_path / "private", tmp_path / "pipe"
    private.write_text("before")
    private.chmod(0o600)
    assert call(monkeypatch, capsys, "card", folder.path, "--out", private, "--force")[0] == 0
    assert private.stat().st_mode & 0o777 == 0o600
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
    assert call(monkeypatch, capsys, "card", folder.path, "--out", pipe, "--force")[0] == 0
    assert reader.communicate(timeout=20)[0].startswith(b"---")
    assert pipe.is_fifo()


def test_another_site_can_be_given(folder, monkeypatch, capsys):
    site = ("--grid-intensity", 200, "--pue", 2)
    code, out, _ = call(monkeypatch, capsys, "card", folder.path, "--format", "sci", "--trial", 2, *site)
    assert code == 0
    found = json.loads(out)
    assert (found["I"]["value"], found["E"]["pue"]["value"]) == (200.0, 2.0)
    there = json.loads(make_card(folder, "sci", trial=2).text)
    assert found["E"]["value"] / there["E"]["value"] == pytest.approx(2 / 1.5, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "huggingface"), "--format: no card 'huggingface'"),
        (("--format", "boamp"), "did you mean 'boamps'"),
        (("--trial", "99"), "no trial 99"),
        (("--set", "licence=mit"), "did you mean 'license'"),
        (("--format", "boamps"), "infrastructure.infraType: the boamps card requires it"),
        (("--pue", "0.5"), "--pue: must be at least 1"),
        (("--out", "no/such/folder/card"), "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, monkeypatch, capsys, arguments, message):
    code, _, err = call(monkeypatch, capsys, "card", folder.path, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_it_loads_no_torch(folder):
    code = (
        "import sys; from pathlib import Path; from joulebench.records.folder import RunFolder; "
        "from joulebench.cards import make_card; make_card(RunFolder.open(Path(sys.argv[1]))); "
        "print(sorted(n for n in ('torch', 'mlflow', 'transformers') if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, folder.path], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
