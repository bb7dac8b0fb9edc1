"""Builds of the passage graph and of the tree by a served model, and their cost estimates."""
