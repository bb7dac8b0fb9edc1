"""Data sets: questions with gold, and the corpus they are asked of."""
