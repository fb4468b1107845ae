"""Energy gate of a continuous integration: benchmarks in fresh processes, and whether a change costs energy.

`plugin` measures inside pytest, `interleave` starts the processes in turn, `decision` judges what they recorded,
`files` reads and keeps it, `report` tells it. Nothing here imports torch.
"""
