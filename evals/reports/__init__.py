"""Reports: what a run of an evaluation says as a whole."""
