"""Makes the models and the tokenizer that ship with the demo; `python -m qdl_engine.demo.build` runs it."""
