"""The state of a lab: its stages, its next step, and what the machine lacks."""
