"""Training against inference: which model costs least in all at which volume of use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import NEEDS_ENERGY, Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.spec.task import Task
    from joulebench.studies.training_inference.analysis import TrainingInference as Result


class TrainingInference(Study["Result"]):
    """Training against inference: which model costs least in all at which volume of use."""

    name = "training_inference"

    def needs(self, task: Task) -> str | None:
        return NEEDS_ENERGY if task.measured is None else None

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.training_inference.analysis import training_inference

        return training_inference(run.task, run.trials)

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.results.reference_frontier import read_overlay
        from joulebench.studies.training_inference.section import training_inference_section

        return training_inference_section(result, run.task.protocol, read_overlay(run, result.quality))
