"""The real EasyDistill, installed beside the lab and started unmodified."""
