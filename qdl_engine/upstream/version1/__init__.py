"""The unmodified EasyDistill 1.0 as a runtime: check it, start it, follow it, judge it."""
