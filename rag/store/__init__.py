"""The store of one tenant: documents, passages and vectors, and the indexes derived from them."""
