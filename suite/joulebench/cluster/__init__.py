"""A run on many machines: trials go to Ray workers, one a node; one driver proposes and writes every record.

Needs the extra `ray`. `driver`: the loop. `pool`: the workers as the driver has them. `worker`: what is on a node.
"""
