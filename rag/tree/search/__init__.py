"""Search of the corpus tree: best-first, with calibrated scores (LATTICE)."""
