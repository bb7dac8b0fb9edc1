"""Text processing: sentence splitting, token counts, index terms."""
