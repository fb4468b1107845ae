"""The energy gate of a continuous integration: benchmarks in fresh processes, and whether a change costs energy.

`plugin` measures inside pytest, `session` starts the processes, `decision` judges what they recorded; `files` reads
and keeps it, `summary` tells it. Nothing here imports torch.
"""
