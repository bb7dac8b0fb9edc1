"""The attacks, one file a kind; each has a function that returns its attacks."""
