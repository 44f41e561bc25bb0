"""Before a run: whether it fits, how long it takes, what it trains. Imports no model library.

All of it follows from a model's `config.json`, the recipe and the prepared rows. `examine.py` is the way in.
"""
