"""The task file of docs/measure.md works as printed."""

from __future__ import annotations

import re

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
    assert result.in_rounds
    assert [v.params["command"] for v in result.each] == ["one", "two"]
    assert result.each[1].energy_ratio.low is not None
