"""The passage graph as stored: its tables, its reader, imported triples, its audit."""
