"""Prompts times models: answers side by side, figures, votes."""
