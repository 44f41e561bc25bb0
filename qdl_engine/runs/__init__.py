"""Runs: detached jobs. The directory of a run holds everything that is known about it."""
