"""Blobs that Python has written come through the server, and new ones go beside them."""
import json

import common
from blobs import client, filled, journal


def main():
    args = common.arguments(__doc__, "blobs", "revisions")
    args.shared = False
    with common.database(args, **client(args, "one")) as (db, _), \
            common.connection(db) as (manager, root):
        common.equal(journal(args, root), json.loads(args.revisions),
                     "blobs that Python has written")
        root[5] = filled(5, 120_000)
        manager.commit()
        common.succeed(revisions=journal(args, root))


if __name__ == "__main__":
    main()
