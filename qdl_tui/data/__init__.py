"""Prepared rows, and the columns of a source mapped to them."""
