"""Energy gate for continuous integration: does a change of the code cost energy?

`plugin` measures inside pytest, `interleave` alternates the processes of two commits, `decision` judges their
records, `files` reads and writes them, `report` renders the result. Nothing here imports torch.
"""
