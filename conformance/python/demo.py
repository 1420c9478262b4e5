"""Changes before a base: the server against Python's DemoStorage on the same files."""
import functools
import random
import shutil
import time

import common
from history import answer, transactions, undo_id
from persistent_classes import Plain
from served import ask
from ZEO.Exceptions import ServerException
from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError, UndoError
from ZODB.serialize import referencesf
from ZODB.utils import maxtid, p64, u64, z64

TRANSACTIONS = 60
UNKNOWN = p64(2**63 - 5)


def change(db, storage, rng, first):
    """Commits and undos, of the base's objects and of new ones."""
    for number in range(first, first + TRANSACTIONS):
        with common.connection(db) as (manager, root):
            manager.get().setUser("changer %d" % (number % 3))
            manager.get().note("change %d \N{SNOWMAN}" % number)
            name = "object %d" % rng.randrange(40)
            kind = rng.random()
            if number > first and kind < 0.3:
                log = db.undoLog(0, 4)
                db.undo(rng.choice(log)["id"], manager.get())
            elif name in root and kind < 0.4:
                del root[name]
            elif name in root:
                root[name].value = rng.randbytes(rng.randrange(400))
            else:
                root[name] = Plain(number)
            try:
                manager.commit()
            except (ConflictError, UndoError, ServerException):
                # What it would undo has been changed since.
                manager.abort()


def base_undo(storage, tid):
    """Only the changes can be undone."""
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.undo(undo_id(tid), txn)
    with common.raises(ServerException, "undo of a transaction of the base") as caught:
        storage.tpc_vote(txn)
    common.equal(caught[0].args[0], "ZODB.POSException.UndoError", "class of the error")
    storage.tpc_abort(txn)


class Mended(DemoStorage):
    """Python's, without one weakness: looking for the first change of an object it does not get past the undo of its
    creation, and then says that there is no such object."""

    def loadBefore(self, oid, tid):
        try:
            return super().loadBefore(oid, tid)
        except POSKeyError:
            found = self.base.loadBefore(oid, tid)
            if not found or found[2]:
                return found
            return found[:2] + (self.first_changes.get(oid),)

    @functools.cached_property
    def first_changes(self):
        """The first tid of each object in the changes."""
        found = {}
        for txn in self.changes.iterator():
            for record in txn:
                found.setdefault(record.oid, txn.tid)
        return found


def compare(args, storage):
    """Every question gets the same answer; returns how many there were."""
    base = FileStorage(args.base, read_only=True)
    changes = FileStorage(args.changes, read_only=True)
    python = (DemoStorage if args.python_server else Mended)(base=base, changes=changes)
    past = transactions(python)
    common.equal(transactions(storage), past, "iteration")
    tids = [txn[0] for txn in past]
    for start, stop in ((tids[7], None), (tids[-5], None), (None, tids[12]), (tids[3], tids[-3])):
        common.equal(transactions(storage, start, stop), transactions(python, start, stop),
                     "iteration %r" % ((start, stop),))

    oids = sorted({record[0] for txn in past for record in txn[5]}) + [UNKNOWN]
    # Every fifth of the base; all of the changes.
    bounds = {maxtid, z64, *tids[::5], *tids[-100:]}
    bounds.update([p64(u64(tid) + 1) for tid in bounds if tid != maxtid])
    questions = [("loadBefore", oid, tid) for oid in oids for tid in sorted(bounds)]
    questions += [("getTid", oid) for oid in oids]
    questions += [("loadSerial", record[0], txn[0]) for txn in past for record in txn[5]]
    questions += [("history", oid, size) for oid in oids for size in (1, 2, 5, 1000)]
    questions += [("undoLog", first, last) for first, last in ((0, -20), (0, 1000), (3, 7))]
    questions += [("undoInfo", 0, -20, {"user_name": b"changer 1"}), ("lastTransaction",)]
    for (method, *arguments), served in ask(storage, questions):
        common.equal(answer(lambda: served), answer(getattr(python, method), *arguments),
                     "%s%r" % (method, tuple(arguments)))
    common.equal((len(storage), storage.getSize()), (len(python), python.getSize()), "sizes")
    python.close()
    return len(questions)


def pack(args, storage):
    """The changes are packed, without garbage collection, and nothing else."""
    shutil.copy(args.changes, args.twin)
    at = time.time()
    if args.python_server:
        # Its DemoStorage cannot be packed unless the changes are temporary.
        with common.raises(ServerException, "pack"):
            storage.pack(at, wait=True)
        return 0
    storage.pack(at, wait=True)
    twin = FileStorage(args.twin)
    twin.pack(at, referencesf, gc=False)
    twin.close()
    return compare(args, storage)


def main():
    args = common.arguments(__doc__, "base", "changes", "twin")
    rng = random.Random(11)
    base = FileStorage(args.base, read_only=True)
    base_last = base.lastTransaction()
    base.close()
    with common.database(args) as (db, storage):
        common.equal(storage.lastTransaction(), base_last, "last transaction of the base")
        # Before there is any change.
        count = compare(args, storage)
        base_undo(storage, base_last)
        change(db, storage, rng, 0)
        count += compare(args, storage)

        count += pack(args, storage)
    # Nothing more is committed: the test compares the files.
    common.succeed(questions=count)


if __name__ == "__main__":
    main()
