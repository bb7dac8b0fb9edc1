"""Entities without a model: names in a text, aliases, key phrases, the entities of a query."""
