"""Repeatability: distribution of joules over repeats, by batch size and by number of epochs."""
