"""EasyDistill 1.x configs: written, read and checked."""
