"""The built-in runtime: `python -m qdl_engine.trainer --config X` trains an EasyDistill 1.x config.

It runs in a process of its own and imports the model libraries at the top of its modules; nothing else does.
"""
