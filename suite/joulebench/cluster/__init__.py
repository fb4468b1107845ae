"""Runs on a Ray cluster: one worker per node measures, one driver proposes and writes every record.

Needs the extra `ray`. `driver`: the loop. `pool`: the driver's view of the workers. `worker`: the actor on a node.
"""
