"""The documents as a run sees them: the protocol, the store behind it, the knowledge base."""
