"""Energy efficiency against batch size: the optimum, its price in latency and memory, and where memory ends."""
