"""Write a file and a blob directory with a past, in the layout that is asked for."""
import os

import common
import transaction
import ZODB
from blobs import content, filled, journal
from ZODB.blob import BlobStorage
from ZODB.FileStorage import FileStorage


def main():
    args = common.arguments(__doc__, "file", "blobs", "layout")
    storage = BlobStorage(args.blobs, FileStorage(args.file), args.layout)
    db = ZODB.DB(storage)
    manager = transaction.TransactionManager()
    with common.connection(db) as (manager, root):
        for number, size in enumerate((0, 1, 59000, 300_000)):
            root[number] = filled(number, size)
            manager.commit()
        with root[3].open("w") as file:
            file.write(content(4, 70_000))
        manager.commit()
        # Undone: the older content is current again.
        db.undo(db.undoLog(0, 1)[0]["id"], manager.get())
        manager.commit()
        manager.begin()
        common.equal(os.path.getsize(root[3].committed()), 300_000, "undone")
        # More than one byte of the oid.
        while storage._oid < b"\0" * 6 + b"\1\0":
            storage.new_oid()
        root[4] = filled(4, 10)
        manager.commit()
        revisions = journal(args, root)
    db.close()
    # What there was before markers of layouts were written.
    if args.layout == "lawn":
        os.unlink(os.path.join(args.blobs, ".layout"))
    common.succeed(revisions=revisions)


if __name__ == "__main__":
    main()
