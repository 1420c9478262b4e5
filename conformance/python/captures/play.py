"""Plays one scenario: SCENARIO ADDRESS SERVER DIRECTORY, with the client's Python.

Each scenario is a function of that name in one of the modules here. They run under Python 2.7 and 3, with ZEO 4 to 6,
and everything that they send is sent by ZEO's own client, except where a scenario says that it is a stranger.
"""
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# The classes of stored objects.
sys.path.insert(1, os.path.dirname(HERE))

try:
    import faulthandler
except ImportError:  # Python 2
    faulthandler = None

import stage  # noqa: E402  (needs the path)
import blobs  # noqa: E402
import caches  # noqa: E402
import commits  # noqa: E402
import disconnections  # noqa: E402
import greetings  # noqa: E402
import objects  # noqa: E402
import past  # noqa: E402
import refusals  # noqa: E402

MODULES = blobs, caches, commits, disconnections, greetings, objects, past, refusals


def main():
    # A play that hangs ends, and says where if Python can.
    if faulthandler is not None:
        faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(60)
    name = sys.argv[1]
    [scenario] = [getattr(module, name) for module in MODULES if hasattr(module, name)]
    the_stage = stage.Stage(*sys.argv[2:])
    try:
        scenario(the_stage)
    finally:
        the_stage.close()
    the_stage.say(result=True)


if __name__ == "__main__":
    main()
