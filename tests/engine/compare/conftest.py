"""Comparisons that a server takes part in use the teachers' own stand-in."""

from tests.engine.teachers.conftest import server

__all__ = ["server"]
