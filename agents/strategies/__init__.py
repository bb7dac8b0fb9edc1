"""Strategies: which nodes run in which order, over the same state. One file each."""
