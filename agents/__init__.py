"""Part of hoptrail."""
