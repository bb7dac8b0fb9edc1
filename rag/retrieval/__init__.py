"""Retrieval: a query to ranked passages, and the fusion of rankings."""
