"""The real EasyDistill, 1.0 and 2.x, and configs that other people wrote for it."""
