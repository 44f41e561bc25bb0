"""The demo lab: a whole distillation in a little world, with no network and no GPU.

`tasks` draws checkable questions, `world` splits them and writes raw rows in the shapes of the real data
sets, `build` trains the teacher and the base student that ship in `assets`, and `runner` takes a new lab
through the real engine. `import qdl_engine.demo` costs nothing.
"""

from typing import Final

DEMO_DIRECTORY: Final = "qdl-demo"
"""Where a demo lab goes by default."""
