"""The exit codes of every command; 0 is done, and an abstention is an answer."""

FAILED = 1
"""It failed: stderr says why and what to do."""

MISUSED = 2
"""Wrong usage or settings."""

INTERRUPTED = 130
"""Ctrl-C."""
