"""Proxies for energy: correlation of model figures, utilisation and runtime with joules."""
