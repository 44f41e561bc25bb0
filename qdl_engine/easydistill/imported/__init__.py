"""EasyDistill 1.x configs that somebody else wrote, run here or turned into a recipe."""
