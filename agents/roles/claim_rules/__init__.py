"""The code check of claims and short answers against quotes, rule by rule; no model."""
