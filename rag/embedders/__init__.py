"""Embedders: texts to L2-normalised vectors, behind one protocol."""
