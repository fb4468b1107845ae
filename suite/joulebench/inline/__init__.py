"""Joules of blocks and functions, measured where they stand: `joulebench.measure`, `joulebench.compare`."""
