"""Prompts: one file each, in folders by who uses them, and their loader."""

from hoptrail.prompts.loader import Prompt, PromptError, Rendered, load

__all__ = ["Prompt", "PromptError", "Rendered", "load"]
