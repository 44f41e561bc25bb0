"""EasyDistill 1.x configs that other people wrote: turned into a recipe, or run here as they are."""
