"""All that knows EasyDistill: its configs, its job types, its installations and its command lines."""
