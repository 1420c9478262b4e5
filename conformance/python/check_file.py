"""Check a file storage that a server has left behind, with Python's own tools."""
import contextlib
import io
import json
import os

import common
from journal import canonical, digest
from ZODB.FileStorage import FileStorage
from ZODB.scripts import fsrefs, fstest


def commits_of(path):
    """What the file holds, in the shape of a journal."""
    storage = FileStorage(path, read_only=True)
    commits = []
    for txn in storage.iterator():
        records = {}
        for record in txn:
            records[record.oid.hex()] = digest(record.data)
        commits.append(dict(
            tid=txn.tid.hex(), user=txn.user.hex(),
            description=txn.description.hex(),
            extension=canonical(txn.extension), records=records))
    storage.close()
    return commits


def compare(actual, expected):
    """Compare commit by commit, for an error that says where."""
    for index, (found, wanted) in enumerate(zip(actual, expected)):
        for key in wanted:
            common.equal(found[key], wanted[key],
                         "%s of commit %d" % (key, index))
    common.equal(len(actual), len(expected), "number of commits")


def main():
    args = common.arguments(__doc__, "file", "journal")
    fstest.check(args.file)
    # fsrefs opens the storage with its index, if the server has left one.
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        fsrefs.main(args.file)
    common.equal(said.getvalue(), "", "fsrefs")
    with_index = FileStorage(args.file, read_only=True)
    index = dict(with_index._index.items())
    with_index.close()
    if os.path.exists(args.file + ".index"):
        os.unlink(args.file + ".index")
        without_index = FileStorage(args.file, read_only=True)
        common.equal(index, dict(without_index._index.items()), "index")
        without_index.close()
    commits = commits_of(args.file)
    if args.journal:
        with open(args.journal) as file:
            compare(commits, json.load(file))
    common.succeed(commits=len(commits), oids=len(index))


if __name__ == "__main__":
    main()
