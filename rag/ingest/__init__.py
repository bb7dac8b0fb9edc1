"""Ingestion: files to parsed, chunked, embedded and committed documents."""
