"""Commands of `hoptrail`, a module for each group."""
