"""Screens 2 and 3: the settings of a student, and the check before training."""
