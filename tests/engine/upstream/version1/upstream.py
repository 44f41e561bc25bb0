"""The unmodified EasyDistill 1.0 of whoever runs the tests; those that need it skip where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qdl_engine.core.errors import LabError
from qdl_engine.demo.lab import BASE_STUDENT
from qdl_engine.settings.user import load_user_settings
from qdl_engine.upstream.find import steps_to_get_one

STEPS = (
    f"no EasyDistill 1.0 to test with. Get one: {'; '.join(steps_to_get_one())}. "
    "Or set QDL_EASYDISTILL_CHECKOUT and QDL_EASYDISTILL_PYTHON. Then: pytest -m slow"
)
STUDENT = BASE_STUDENT


def _found() -> tuple[str, str]:
    checkout, python = (os.environ.get(f"QDL_EASYDISTILL_{name}", "") for name in ("CHECKOUT", "PYTHON"))
    try:
        record = load_user_settings().easydistill
    except LabError:
        return checkout, python
    return checkout or record.checkout, python or record.python


# While tests are collected: later the user's settings are out of their sight.
CHECKOUT, PYTHON = _found()
needs_upstream = pytest.mark.skipif(
    not (PYTHON and (Path(CHECKOUT) / "easydistill/kd/train.py").is_file()), reason=STEPS
)
