"""Proxies for energy: correlation of parameters, MACs, activations, bytes moved and runtime with joules."""
