"""A client with a blob cache lives through a restart of the server, and misses a change."""
import os

import common
from blobs import content, filled, journal, read


def identity(blob):
    """Which file in the cache holds it."""
    status = os.stat(blob.committed())
    return status.st_ino, status.st_mtime_ns


def stay(args):
    with common.database(args, blob_dir=os.path.abspath("cache"), wait_timeout=30) \
            as (db, storage), common.connection(db) as (manager, root):
        root["kept"], root["changed"] = filled(1, 200_000), filled(2, 200_000)
        manager.commit()
        # With the cache that other clients have, too: read once.
        for blob in root.values():
            read(blob)
        kept = identity(root["kept"])
        common.step("connected")
        common.eventually(lambda: not storage.is_connected(), "disconnection")
        common.step("disconnected")
        common.eventually(storage.is_connected, "reconnection", 30)
        manager.begin()
        common.equal(read(root["changed"]) == content(3, 120_000), True,
                     "what was changed meanwhile")
        common.equal(read(root["kept"]) == content(1, 200_000), True, "what was not")
        common.equal(identity(root["kept"]), kept, "the file in the cache")
        root["new"] = filled(4, 59_001)
        manager.commit()
        common.succeed(revisions=journal(args, root))


def change(args):
    with common.database(args, blob_dir=os.path.abspath("other")) as (db, _), \
            common.connection(db) as (manager, root):
        with root["changed"].open("w") as file:
            file.write(content(3, 120_000))
        manager.commit()
    common.succeed()


def main():
    args = common.arguments(__doc__, "do")
    {"stay": stay, "change": change}[args.do](args)


if __name__ == "__main__":
    main()
