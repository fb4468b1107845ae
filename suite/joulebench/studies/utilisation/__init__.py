"""Utilisation, clocks, temperature and memory of the hardware; energy by epoch; power over a trial."""
