"""Data sets: a corpus and questions with gold answers and supports, and their reader."""
