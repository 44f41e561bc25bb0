"""A terminal that goes away does not hold up the app that leaves."""

from __future__ import annotations

import os
import pty

from textual.drivers._writer_thread import MAX_QUEUED_WRITES, WriterThread

from qdl_tui.shared.terminal import LastingFile


def test_the_writer_outlives_its_terminal() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        lasting = LastingFile(terminal)
        writer = WriterThread(lasting)  # type: ignore[arg-type]
        writer.start()
        writer.write("seen")
        os.close(master)
        for _ in range(2 * MAX_QUEUED_WRITES):
            writer.write("unseen")
        writer.stop()
        assert not writer.is_alive() and lasting.fileno() == slave
        lasting.write("nothing is raised now")
        # What is left in its buffer has no place to go.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), slave)
