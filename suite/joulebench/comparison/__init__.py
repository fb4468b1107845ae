"""Comparison of runs of one task on several machines."""
