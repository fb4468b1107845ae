"""Energy efficiency against batch size: the optimum, its latency and memory, and the memory limit."""
