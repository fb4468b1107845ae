"""The task file and the Python of docs/measure.md work as printed."""

from __future__ import annotations

import re
import subprocess
import sys

from joulebench.results.run import Run
from joulebench.runner import local
from joulebench.runner.plan import plan
from joulebench.studies.variants.analysis import variants
from tests.conftest import REPOSITORY


def test_its_task_file_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / "docs" / "measure.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "two_sorts.toml").write_text(toml.replace("idle_s = 4.0", "idle_s = 0.0"))
    (tmp_path / "numbers.txt").write_text("\n".join(str(7919 * n % 10007) for n in range(20_000)))
    chosen = plan("two_sorts.toml", replay="50", hardware="generic_cpu", force_hardware=True)
    folder = local.start(chosen, out=tmp_path)
    assert [t.status for t in folder.trials()] == ["ok"] * 20
    result = variants(Run.of(folder))
    assert [v.params["command"] for v in result.each] == ["one", "two"]
    (cost,) = result.each[1].costs.values()
    assert (cost.energy_ratio.varied, cost.energy_ratio.low is None) == ("rounds", False)


def test_its_python_runs(tmp_path):
    """As printed, but for a dry run: 50 W."""
    text = (REPOSITORY / "docs" / "measure.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert code.count('unit="image"') == 4
    (tmp_path / "own.py").write_text(code.replace('unit="image"', 'unit="image", replay="50"'))
    done = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (bf16,) = [line for line in lines if line.startswith("bf16 ")]
    assert bf16.split()[-1] == "0.911"
    assert sum(line.startswith("cpu ") for line in lines) == 2
