"""What every test shares."""

from __future__ import annotations

import os

# Before anything imports torch: tests run beside each other, and each would take all cores for a small model.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
