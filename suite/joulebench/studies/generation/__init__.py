"""Text generation: energy per token, latency and memory of whole requests, of prefill and of decode."""
