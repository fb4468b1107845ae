"""Consistency of the meter: spread and drift over windows of the same work, their causes, and the gate."""
