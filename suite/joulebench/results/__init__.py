"""Numbers made from records: energy, outcomes, frontier, ledger, costs, audit. Loads no torch."""
