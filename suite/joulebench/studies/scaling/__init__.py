"""Scaling of joules per unit of work with the size of the model: exponents with intervals."""
