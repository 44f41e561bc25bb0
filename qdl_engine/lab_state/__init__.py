"""Where a lab stands: its stages, its next step, and what the machine lacks."""
