"""The app: Textual screens over qdl_engine."""
