"""Builders of the corpus tree: bottom-up and top-down, and the texts of its nodes."""
