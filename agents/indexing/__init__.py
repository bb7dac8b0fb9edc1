"""A served model reads the corpus: builds of the passage graph and of the tree, and their cost."""
