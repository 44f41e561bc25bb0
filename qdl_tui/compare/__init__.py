"""Screen 6: teacher and students side by side."""
