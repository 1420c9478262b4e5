"""Changes in memory before a base in a file: what `history` says of a revision depends on which of them holds it."""
import random

import common
from history import answer, shown
from persistent_classes import Plain
from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import p64, z64

TRANSACTIONS = 40
SIZES = -3, -2, -1, 0, 1, 2, 3, 5, 1000, 0.5, 1.5, 1e9
UNKNOWN = p64(2**63 - 5)


def change(db, rng):
    """Commits of the base's objects and of new ones."""
    for number in range(TRANSACTIONS):
        with common.connection(db) as (manager, root):
            manager.get().setUser("changer %d" % (number % 3))
            manager.get().note("change %d \N{SNOWMAN}" % number)
            if number % 2:
                manager.get().setExtendedInfo("request", "/a/%d" % number)
            name = "object %d" % rng.randrange(40)
            if name in root:
                root[name].value = number
            else:
                root[name] = Plain(number)
            manager.commit()


def twin_of(storage, base, base_last):
    """Python's demo storage with the same transactions; and all their oids."""
    changes, oids = MappingStorage(), {UNKNOWN}
    serials = {}
    for txn in storage.iterator():
        records = [(record.oid, record.data) for record in txn]
        oids.update(oid for oid, _ in records)
        if txn.tid <= base_last:
            continue
        meta = TransactionMetaData(txn.user, txn.description, txn.extension)
        changes.tpc_begin(meta, txn.tid)
        for oid, data in records:
            changes.store(oid, serials.get(oid, z64), data, "", meta)
            serials[oid] = txn.tid
        changes.tpc_vote(meta)
        changes.tpc_finish(meta)
    return DemoStorage(base=base, changes=changes), sorted(oids)


def said(storage, *question):
    """What a storage says to a question about an object's history."""
    try:
        return answer(storage.history, *question)
    except TypeError as error:
        # Of sizes that are no whole numbers.
        return shown(error)


def main():
    args = common.arguments(__doc__, "base")
    base = FileStorage(args.base, read_only=True)
    with common.database(args) as (db, storage):
        change(db, random.Random(5))
        python, oids = twin_of(storage, base, base.lastTransaction())
        questions = [(oid, size) for oid in oids for size in SIZES]
        # Nobody is asked then, so nobody finds that there is no such object. The server does.
        questions.remove((UNKNOWN, 0))
        shapes = set()
        for question in questions:
            expected = said(python, *question)
            common.equal(said(storage, *question), expected, "history%r" % (question,))
            if expected and isinstance(expected[0], tuple):
                shapes.add(frozenset("serial" in dict(entry) for entry in expected))
    base.close()
    # Entries of the base alone, of the changes alone, and of both.
    common.equal(len(shapes), 3, "kinds of answers")
    common.succeed(questions=len(questions))


if __name__ == "__main__":
    main()
