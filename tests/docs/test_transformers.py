"""docs/transformers.md: its task file."""

from __future__ import annotations

import re
import tomllib

from joulebench.spec.task import Task
from joulebench.workloads.transformer import Transformer
from tests.conftest import REPOSITORY


def test_its_task_of_joules_per_correct_answer_is_one():
    [text] = re.findall(r"```toml\n(.*?)```", (REPOSITORY / "docs/transformers.md").read_text(), re.DOTALL)
    task = Task.model_validate(tomllib.loads(text))
    Transformer.check_task(task)
    assert task.objectives["j_per_correct_answer"].share == "val_accuracy"
