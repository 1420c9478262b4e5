"""A demo storage of which nothing is configured: empty at first, everything in memory, blobs too."""
import time

import common
from blobs import client, content, filled, journal, read
from persistent_classes import Plain
from ZODB.POSException import ConflictError


def main():
    args = common.arguments(__doc__)
    args.shared = False
    with common.database(args, **client(args, "one")) as (db, storage), \
            common.connection(db) as (manager, root), \
            common.database(args, **client(args, "other")) as (db2, _), \
            common.connection(db2) as (other_manager, other_root):
        common.equal(dict(root), {}, "objects of a new server")
        root["plain"], root["blob"] = Plain(1), filled(1, 150_000)
        manager.commit()
        common.eventually(lambda: (other_manager.begin(), "blob" in other_root)[1],
                          "the commit in the other process")
        common.equal(read(other_root["blob"]) == content(1, 150_000), True, "the blob there")
        with root["blob"].open("w") as file:
            file.write(content(2, 59_000))
        root["plain"].value = 2
        other_root["plain"].value = 3
        manager.commit()
        with common.raises(ConflictError, "conflict"):
            other_manager.commit()
        other_manager.abort()
        common.eventually(lambda: (other_manager.begin(), other_root["plain"].value)[1] == 2,
                          "the change in the other process")
        storage.pack(time.time(), wait=True)
        db2.cacheMinimize()
        common.equal(read(other_root["blob"]) == content(2, 59_000), True,
                     "the blob after a pack")
        common.equal(len(journal(args, {"blob": root["blob"]})), 1, "blobs")
    common.succeed()


if __name__ == "__main__":
    main()
