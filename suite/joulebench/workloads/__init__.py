"""Workloads: the models that are measured, behind the interface in `base`."""
