"""EasyDistill 1.x configs that other people wrote: run here, or turned into a recipe."""
