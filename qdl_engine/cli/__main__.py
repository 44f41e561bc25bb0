"""`python -m qdl_engine.cli`: the same as `qdl`."""

import sys

from qdl_engine.cli import main

sys.exit(main())
