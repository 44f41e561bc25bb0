"""Screen 1: where each student stands and the next step."""
