"""How the demo's models are made; `python -m qdl_engine.demo.build` is the way in."""
