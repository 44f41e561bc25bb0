"""The log pane: reads a log file of any size while a run writes it, follows it, searches and filters it."""
