"""Random operations, the same on our server and on Python's: the same answers, and in the end the same in both files.

Two clients take turns, each with a transaction of its own, and a third may only
read. After each step the answers are compared, in the end every byte of the files
but tids (differential_sides.py says how) and all blobs. What is allowed to differ,
because ours does better on purpose, is in differential_exceptions.py.
"""
import collections
import logging
import os
import random
import sys

import common
from differential_exceptions import Exceptions
from differential_run import Run
from differential_sides import Side
from ZODB.blob import LAYOUTS

# A storage of the servers: its name, the files that it leaves, whether Python can pack it and then collects garbage.
Kind = collections.namedtuple("Kind", "name file blobs packs with_gc", defaults=(None, None, True, True))
KINDS = (Kind("file", "file.fs", "file-blobs"),
         Kind("plain", "plain.fs", None, True, False),
         # Python's server cannot pack these.
         Kind("demo", "changes.fs", "changes-blobs", False),
         # Python's collects garbage in these, though a base may refer to it; ours never does.
         Kind("memory", None, None, False),
         Kind("mapping"),
         Kind("wrapped", None, "wrapped-blobs"))


def compare_files(run):
    """What both servers have left."""
    ours, theirs = run.sides
    for suffix in "", ".old":
        name = run.kind.file + suffix
        found = [os.path.exists(os.path.join(side.files, name)) for side in run.sides]
        common.equal(*found, "%s exists" % name)
        if found[0]:
            one, other = (side.bytes_of(name) for side in run.sides)
            if one != other:
                raise AssertionError("%s: different at byte %d of %d and %d" % (
                    name, next((number for number, pair in enumerate(zip(one, other)) if pair[0] != pair[1]),
                               min(len(one), len(other))), len(one), len(other)))
    for suffix in "", ".old":
        if run.kind.blobs:
            name = run.kind.blobs + suffix
            names = {os.path.join(LAYOUTS["bushy"].oid_to_path(oid), "0x%s.blob" % (tid,))
                     for oid, tid, _, _ in run.records}
            mine, other = run.exceptions.blobs(ours.blobs_in(name), theirs.blobs_in(name), names)
            common.equal(sorted(mine.items() - other.items()), sorted(other.items() - mine.items()),
                         "files in %s" % name)


def go_on(run, steps):
    """So many steps more, then hang up."""
    try:
        for _ in range(steps):
            run.step()
        # Python's server cannot open a file again in which all transactions are empty.
        while not run.story.revisions:
            run.step()
        run.iterate()
        run.close()
    except Exception:
        sys.stderr.write("storage %s; the last steps:\n%s\n" % (run.kind.name, run.report()))
        raise


def main():
    args = common.arguments(__doc__, "reference", "files", "reference-files", "seed", "steps", "kinds", "clients-resolve")
    host, port = args.reference.rsplit(":", 1)
    # Errors are what is asked for.
    logging.disable(logging.ERROR)
    counts, runs = collections.Counter(), []
    for kind in KINDS:
        if args.kinds and kind.name not in args.kinds.split(","):
            continue
        sides = (Side(0, args.address, args.files), Side(1, (host, int(port)), args.reference_files))
        rng = random.Random("%s %s" % (args.seed, kind.name))
        run = Run(sides, kind, rng, Exceptions(kind, bool(args.clients_resolve)))
        common.equal({side.clients[0].protocol_version for side in sides}, {args.greeting.encode()}, "protocol")
        runs.append(run)
        go_on(run, int(args.steps))
    on_files = [run for run in runs if run.kind.file]
    common.step("restart")
    common.await_answer("restarted")
    for run in on_files:
        run.connect_again()
        go_on(run, int(args.steps) // 2)
    common.step("stop")
    common.await_answer("stopped")
    for run in on_files:
        compare_files(run)
    for run in runs:
        counts.update(run.counts)
        counts.update(run.exceptions.counts)
    common.succeed(**counts)


if __name__ == "__main__":
    main()
