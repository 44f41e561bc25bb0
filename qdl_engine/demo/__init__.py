"""The demo lab: a whole distillation in a little world, with no network and no GPU.

`world` holds the checkable tasks, `build` trains the teacher and the base student that ship in `assets`,
`sources` writes the raw rows in the shapes of the real data sets, and `runner` takes them down the engine's
real path. Nothing here is imported until it is asked for: `import qdl_engine.demo` costs nothing.
"""

from typing import Final

DEMO_DIRECTORY: Final = "qdl-demo"
"""Where a demo lab goes when nobody says where."""
