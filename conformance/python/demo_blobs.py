"""Blobs of the base and of the changes."""
import json

import common
import ZODB
from blobs import client, content, filled, journal, read
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage


def change(args):
    """Read what the base has; change, undo and add."""
    with common.database(args, **client(args, "one")) as (db, _), \
            common.connection(db) as (manager, root):
        common.equal(journal(args, root), json.loads(args.revisions), "blobs of the base")
        for number in 1, 2:
            with root[number].open("w") as file:
                file.write(content(10 + number, 130_000))
            manager.commit()
        # The base's content is current again.
        db.undo(db.undoLog(0, 1)[0]["id"], manager.get())
        manager.commit()
        manager.begin()
        common.equal(read(root[2]) == content(2, 59_000), True, "undone")
        root[5] = filled(5, 59_001)
        manager.commit()
        revisions = journal(args, root)
    # A process that has none of it yet.
    with common.database(args, **client(args, "other")) as (db, _), \
            common.connection(db) as (_, root):
        common.equal(journal(args, root), revisions, "blobs in another process")
        common.equal(read(root[1]) == content(11, 130_000), True, "changed")
    common.succeed(revisions=revisions)


def check(args):
    """Python's DemoStorage finds the same in the files."""
    base = FileStorage(args.base, blob_dir=args.base_blobs, read_only=True)
    changes = FileStorage(args.changes, blob_dir=args.changes_blobs, read_only=True)
    db = ZODB.DB(DemoStorage(base=base, changes=changes))
    with common.connection(db) as (_, root):
        revisions = journal(args, root)
    db.close()
    common.succeed(revisions=revisions)


def main():
    args = common.arguments(__doc__, "do", "revisions", "base", "base-blobs", "changes",
                            "changes-blobs")
    args.shared = False
    {"change": change, "check": check}[args.do](args)


if __name__ == "__main__":
    main()
