"""Command line of hoptrail: commands, options, settings file, text output and progress."""
