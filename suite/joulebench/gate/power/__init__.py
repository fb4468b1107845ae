"""Statistical power of the gate: rates of false alarms and missed regressions."""
