"""Parsers: the bytes of a file to title and text, one format a file."""
