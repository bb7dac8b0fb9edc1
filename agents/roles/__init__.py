"""Roles: what a node asks for, one a file, each with a local and a served player."""
