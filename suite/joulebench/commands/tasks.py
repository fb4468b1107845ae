"""Command `joulebench tasks`: list the catalogue."""

from __future__ import annotations


def tasks() -> None:
    """List the tasks, their budgets and their objectives."""
    from joulebench.spec.catalog import find_task, task_files

    for name in task_files():
        task = find_task(name)
        budgets = ", ".join(task.budgets) or "one"
        print(f"{name:<18} {task.title}")
        print(f"{'':<18} objectives: {', '.join(task.objectives)}; budgets: {budgets}")
