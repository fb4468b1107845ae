"""Crashes and full disks at every step of what is written, and what holds after them: `python -m tests.crash`."""
