"""The terminal app. It reads labs and starts runs through `qdl_engine`; it never loads a model."""
