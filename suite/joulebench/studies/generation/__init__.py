"""Text generation: energy per token, latency and memory of whole requests, prefill and decode."""
