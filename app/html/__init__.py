"""HTML pages of an answer's evidence and of a corpus tree: single files without scripts."""
