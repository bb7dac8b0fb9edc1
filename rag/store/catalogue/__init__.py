"""The catalogue: an SQLite database that holds the documents, passages and vectors of a store."""
