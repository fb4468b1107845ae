"""Measurement: protocol of windows, the harness of one trial, and training."""
