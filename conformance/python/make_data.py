"""Write a file with a past: undo, deleted objects, a packed prefix."""
import random

import common
import transaction
import ZODB
from persistent_classes import Plain
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.serialize import referencesf
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import load_current

OBJECTS = 30
TRANSACTIONS = 300


def main():
    args = common.arguments(__doc__, "file", "transactions")
    transactions = int(args.transactions or TRANSACTIONS)
    rng = random.Random(7)
    storage = FileStorage(args.file)
    db = ZODB.DB(storage)
    counts = dict.fromkeys(("commit", "undo", "delete"), 0)
    for number in range(transactions):
        manager = transaction.TransactionManager()
        conn = db.open(manager)
        root = conn.root()
        manager.get().setUser("user %d" % number)
        manager.get().note("transaction %d \N{SNOWMAN}" % number)
        kind = "commit"
        name = "object %d" % rng.randrange(OBJECTS)
        if number > 10 and number % 9 == 0:
            # Undo the last one: leaves a backpointer, or undoes a creation.
            kind = "undo"
            db.undo(db.undoLog(0, 1)[0]["id"], manager.get())
        elif name in root and rng.random() < 0.1:
            del root[name]
        elif name in root:
            root[name].value = rng.randbytes(rng.randrange(400))
        else:
            root[name] = Plain(number)
        manager.commit()
        conn.close()
        counts[kind] += 1
        if number == transactions * 2 // 5:
            storage.pack(TimeStamp(storage.lastTransaction()).timeTime(),
                         referencesf)
    # Some that nobody refers to are deleted by hand.
    referred = set()
    for oid in storage._index.keys():
        try:
            referred.update(referencesf(load_current(storage, oid)[0]))
        except KeyError:
            pass
    for oid in sorted(storage._index.keys()):
        try:
            serial = storage.getTid(oid)
        except KeyError:
            continue
        if oid not in referred and oid != b"\0" * 8:
            common.commit(storage, TransactionMetaData(b"collector"),
                          ("deleteObject", oid, serial))
            counts["delete"] += 1
    db.close()
    common.succeed(**counts)


if __name__ == "__main__":
    main()
