"""Studies of joulebench's own parts: searches of problems whose best is known."""
