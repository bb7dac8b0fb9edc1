"""The chat completions: a conversation in, an answer with numbered sources out."""
