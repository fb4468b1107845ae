"""Extrapolation of a training's energy and time from its first epochs, every rule against what came."""
