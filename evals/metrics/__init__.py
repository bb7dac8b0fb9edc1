"""Metrics of rankings and of short answers."""
