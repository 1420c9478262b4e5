"""Python's repozo backs up a file while the server writes to it: full and incremental
backups, over a pack, and what is recovered is what was committed by then."""
import os
import time

import common
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.scripts import repozo
from ZODB.utils import p64


def commit_some(storage, serial, number):
    """Change the root, which a pack keeps; returns the last tid."""
    for n in range(4):
        data = common.record("%d in round %d" % (n, number) * 50)
        serial = common.commit(storage, TransactionMetaData(),
                               common.store(p64(0), serial, data))
    return serial


def transactions(path):
    """Everything in a file, to compare."""
    with_data = []
    storage = FileStorage(path, read_only=True)
    for txn in storage.iterator():
        records = [(r.oid, r.tid, r.data, r.data_txn) for r in txn]
        with_data.append((txn.tid, txn.status, txn.user, txn.description,
                          txn.extension, records))
    storage.close()
    return with_data


class Clock:
    """Stands in for `time` in repozo, which names its files by the second."""

    def __init__(self):
        self.seconds = time.time()

    def gmtime(self):
        self.seconds += 1
        return time.gmtime(self.seconds)

    def __getattr__(self, name):
        return getattr(time, name)


def backup(args, directory, *options):
    repozo.main(["-B", "-r", directory, "-f", args.file] + list(options))


def recover(directory, output):
    repozo.main(["-R", "-r", directory, "-o", output])


def main():
    args = common.arguments(__doc__, "file", "directory")
    os.mkdir(args.directory)
    repozo.time = Clock()
    last = p64(0)
    with common.storage_of(args) as storage:
        for number in range(6):
            last = commit_some(storage, last, number)
            if number == 4:
                storage.pack(time.time(), wait=True)
            # Full when there is none, or when the file is another one after a
            # pack; incremental otherwise.
            backup(args, args.directory, *(["-Q"] if number % 2 else []))
            output = "%s-%d.fs" % (args.directory, number)
            recover(args.directory, output)
            found = transactions(output)
            common.equal(found[-1][0], last, "the last tid of backup %d" % number)
            common.equal(found, transactions(args.file), "the backup")
        names = os.listdir(args.directory)
        full = sum(name.endswith(".fs") for name in names)
        increments = sum(name.endswith(".deltafs") for name in names)
        common.equal((full, increments), (2, 4), "full and incremental backups")
    common.succeed()


if __name__ == "__main__":
    main()
