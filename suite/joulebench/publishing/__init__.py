"""Publishing under `reports/`: checked records, the reports made from them, and an index."""
