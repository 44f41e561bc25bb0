"""The unmodified EasyDistill 1.0 as a runtime: looked for, tried, started, watched and judged."""
