"""Statistical power of the gate: how often it calls a change that is none, and misses one that is."""
