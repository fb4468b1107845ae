"""Statistics over records: numbers that a report or a gate states. Pure; reads no files."""
