"""What the requests of a server share: open stores, places, quotas, jobs, receipts, counters."""
