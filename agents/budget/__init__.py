"""The budget of a run: its limits, and the ledger that reserves each spend beforehand."""
