"""Copy all transactions, and their blobs, from the server to a file."""
import os

import common
from blobs import client, files_in
from history import transactions
from ZODB.FileStorage import FileStorage


def contents(directory):
    """Names of revisions, and what they hold."""
    found = {}
    for name in files_in(directory):
        with open(name, "rb") as file:
            found[os.path.relpath(name, directory)] = file.read()
    return found


def main():
    args = common.arguments(__doc__, "blobs", "copy")
    args.shared = False
    copy = FileStorage(args.copy, blob_dir=os.path.abspath("copy-blobs"))
    with common.storage_of(args, **client(args, "one")) as served:
        copy.copyTransactionsFrom(served)
        expected = transactions(copy)
        common.equal(transactions(served), expected, "what was copied")
    copy.close()
    common.equal(contents("copy-blobs") == contents(args.blobs), True, "files")
    common.succeed(transactions=len(expected))


if __name__ == "__main__":
    main()
