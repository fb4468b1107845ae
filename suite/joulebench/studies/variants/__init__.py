"""Ways of doing the same work beside each other: joules, time and power of each, and its ratio to the first."""
