"""`qdl` as a terminal starts it: under `nohup ... &` a test's children would ignore SIGINT."""

from __future__ import annotations

import sys

_START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from qdl_engine.cli import main
raise SystemExit(main())
"""
QDL_AT_A_TERMINAL = [sys.executable, "-c", _START]
