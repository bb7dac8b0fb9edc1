"""The commands of `hoptrail`, a module for each group."""
