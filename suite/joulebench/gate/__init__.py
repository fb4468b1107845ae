"""Energy gate for continuous integration: does a change of the code cost energy?

`plugin` and `fixture` measure inside pytest, `processes` gives the processes of two commits their turns,
`interleave` adds pairs until all is decided. `decision` judges the records: `by_pairs` with `paired`, `by_sessions`
with a stored baseline. `files` reads and writes them, `report` renders the result. Nothing here imports torch.
"""
