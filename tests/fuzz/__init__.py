"""Fuzzing of everything that joulebench reads: mutated files, command lines and conditions, judged by oracles."""
