"""Prediction of energy from a model's figures, judged on models held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.studies.prediction.analysis import EnergyPrediction


class Prediction(Study["EnergyPrediction"]):
    """Prediction of energy from a model's figures, judged on models held out."""

    name = "prediction"

    def analyse(self, run: Run) -> EnergyPrediction | None:
        from joulebench.studies.prediction.analysis import prediction

        return prediction(run.task, run.trials)

    def section(self, result: EnergyPrediction, run: Run) -> Section:
        from joulebench.studies.prediction.section import prediction_section

        return prediction_section(result)
