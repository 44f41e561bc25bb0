"""Before a run: will it fit, how long will it take, what is trained. No model library is imported.

Everything follows from a model's `config.json`, the recipe and the prepared rows; `examine` puts it together.
"""

from qdl_engine.preflight.examine import examine
from qdl_engine.preflight.report import Preflight

__all__ = ["Preflight", "examine"]
