"""A run on many machines: trials go to Ray workers, one a node; one driver proposes and writes every record.

Needs the extra `ray`. `study`: the loop. `crew`: the workers as the driver has them. `worker`: what is on a node.
"""
