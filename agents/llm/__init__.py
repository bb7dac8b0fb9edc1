"""The client of served models: requests, retries, HTTP, reply schemas, delimiters."""
