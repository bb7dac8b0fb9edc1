"""Roles that read what was found: refiner, reader, answerer, and the quotes behind their words."""
