"""Conversion factors between units."""

from __future__ import annotations

JOULES_PER_KWH = 3.6e6
