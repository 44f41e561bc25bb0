"""Screens 4 and 5: all runs, and one run live."""
