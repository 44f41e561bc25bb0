"""What the whole engine stands on: paths, errors, events, prompts, words."""
