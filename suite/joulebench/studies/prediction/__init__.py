"""Prediction of energy from a model's figures, judged on models held out."""
