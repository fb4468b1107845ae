"""This machine: clock, device, memory, power limit, environment, git, files and child processes."""
