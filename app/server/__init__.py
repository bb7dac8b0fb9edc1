"""The HTTP server: an OpenAI-compatible chat API over hoptrail, documents, search, receipts."""
