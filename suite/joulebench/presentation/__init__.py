"""Presentation kit: tables, plots, axes, sections, numbers, units and pages. It knows no run."""
