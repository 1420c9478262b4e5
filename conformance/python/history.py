"""Undo, history, iteration and restore: the server against Python's FileStorage.

The same random transactions go to the server and to a file storage in this
process, its twin, with the same tids. Whatever one answers, the other must
answer; in the end their files are compared byte by byte.
"""
import base64
import random

import common
from ZEO.Exceptions import ServerException
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError, UndoError
from ZODB.utils import maxtid, p64, u64, z64

TRANSACTIONS = 150
OBJECTS = 12
FIRST_TID = 0x040d_2400_0000_0000
EXTENSIONS = ({}, {}, {"request": "/a/b"}, {"time": "late", "k": (1, None)},
              {"user_name": "/a/b/c somebody"}, {"id": b"mine", "f": 1.5})
ERRORS = POSKeyError, ServerException, UndoError, ValueError


def shown(error):
    """An exception in a form that can be compared."""
    name, detail = type(error).__name__, error.__dict__ or error.args
    if isinstance(error, ServerException):
        # The client does not know the class.
        name, detail = error.args
        name = name.rpartition(".")[2]
    if name == "MultipleUndoErrors":
        # msgpack has no exceptions within exceptions.
        return name, [
            (oid, why[1]["_reason"] if isinstance(why, tuple) else why._reason)
            for oid, why in detail["_errs"]]
    return name, plain(detail)


def answer(function, *arguments):
    """The result, or the exception; sequences are all the same."""
    try:
        return plain(function(*arguments))
    except ERRORS as error:
        return shown(error)


def plain(value):
    """Lists as tuples, at any depth: msgpack does not tell them apart."""
    if isinstance(value, (list, tuple)):
        return tuple(map(plain, value))
    if isinstance(value, dict):
        return tuple((key, plain(item)) for key, item in value.items())
    return value


def transactions(storage, start=None, stop=None):
    """All that an iteration says."""
    found = []
    iterator = storage.iterator(start, stop)
    for txn in iterator:
        records = [(record.oid, record.tid, record.data, record.data_txn)
                   for record in txn]
        found.append((txn.tid, txn.status, txn.user, txn.description,
                      plain(txn.extension), records))
    return found


class Pair:
    """The served storage and its twin."""

    def __init__(self, served, twin, rng):
        self.served, self.twin, self.rng = served, twin, rng
        self.tids = []
        self.failures = 0
        # Of the next transaction.
        self.tid = None

    def commit(self, operations, status=" "):
        """One transaction on both; whether it went well."""
        number, tid = len(self.tids) + self.failures, self.tid
        extension = self.rng.choice(EXTENSIONS)
        results = []
        for storage in self.twin, self.served:
            txn = TransactionMetaData(b"user %d" % (number % 3),
                                      "step %d \N{SNOWMAN}" % (number % 2), extension)
            storage.tpc_begin(txn, tid, status)
            undone = set()
            try:
                for name, *arguments in operations:
                    result = getattr(storage, name)(*arguments, txn)
                    if name == "undo" and storage is self.twin:
                        undone.update(result[1])
                voted = storage.tpc_vote(txn)
                if storage is self.served:
                    undone.update(voted or ())
            except ERRORS as error:
                storage.tpc_abort(txn)
                results.append(shown(error))
            else:
                storage.tpc_finish(txn)
                results.append(undone)
        common.equal(results[1], results[0], "transaction %r" % (operations,))
        ok = isinstance(results[0], set)
        if ok:
            self.tids.append(tid)
        else:
            self.failures += 1
        return ok

    def both(self, method, *arguments):
        """Ask both the same question, the server without the client's cache."""
        common.equal(
            answer(self.served._call, method, *arguments),
            answer(getattr(self.twin, method), *arguments),
            "%s%r" % (method, arguments))

    def serial(self, oid):
        """The serial of the newest record; z64 if there is none."""
        pos = self.twin._index_get(oid, 0)
        return self.twin._read_data_header(pos).tid if pos else z64

    # What a transaction may consist of.

    def store(self, oid=None):
        oid = oid or p64(self.rng.randrange(OBJECTS))
        # Few values, so that undo meets equal data.
        data = common.record(self.rng.randrange(4))
        return "store", oid, self.serial(oid), data, ""

    def delete(self):
        oid = p64(self.rng.randrange(OBJECTS))
        return "deleteObject", oid, self.serial(oid)

    def undo(self):
        # Mostly one of the last, and now and then one that there is not.
        number = len(self.tids) - 1 - int(self.rng.expovariate(0.3))
        tid = self.tids[number] if number >= 0 else p64(number % 2**64)
        return "undo", undo_id(tid)

    def restore(self):
        oid = p64(self.rng.randrange(OBJECTS))
        found = [record for _, _, _, _, _, records in transactions(self.twin)
                 for record in records if record[0] == oid]
        if not found or self.rng.random() < 0.2:
            return "restore", oid, self.tid, common.record(9), "", None
        _, serial, data, data_tid = self.rng.choice(found)
        # As an iterator would say it; the data or a reference to them.
        prev = data_tid or (serial if data is not None else None)
        return "restore", oid, self.tid, data, "", prev

    def step(self):
        """A random transaction."""
        number = len(self.tids) + self.failures
        self.tid = p64(FIRST_TID + number * 2**24 + self.rng.randrange(2**24))
        kind = self.rng.random()
        if kind < 0.45:
            oids = self.rng.sample(range(OBJECTS), self.rng.randrange(1, 4))
            return self.commit([self.store(p64(oid)) for oid in oids])
        if kind < 0.52:
            return self.commit([self.delete()])
        if kind < 0.80:
            return self.commit([self.undo()])
        if kind < 0.90:
            return self.commit([self.undo() for _ in range(self.rng.randrange(2, 4))])
        if kind < 0.93:
            return self.commit([self.store(), self.undo()])
        if kind < 0.95:
            return self.commit([])
        return self.commit([self.restore()], "p" if number < 20 else " ")

    def questions(self):
        """What the past was, from every side."""
        oids = [p64(number) for number in range(OBJECTS)] + [p64(2**40)]
        for oid in oids:
            for size in (0, 1, 2, 1000, -1, True, 2.5):
                self.both("history", oid, size)
            self.both("getTid", oid)
            for tid in [z64, maxtid, *self.tids]:
                self.both("loadBefore", oid, tid)
                self.both("loadBefore", oid, p64(u64(tid) + 1))
                self.both("loadSerial", oid, tid)
            self.both("record_iternext", oid)
        self.both("record_iternext", None)
        for first, last in ((0, -20), (0, 1000), (3, 7), (3, -7), (5, 2), (0, 0),
                            (-3, 2), (-1, -1), (10**9, 10**10)):
            self.both("undoLog", first, last)
            for spec in (None, {}, {"user_name": b"user 1"},
                         {"description": "step 1 \N{SNOWMAN}".encode()},
                         {"user_name": "user 1"}, {"k": (1, None)}, {"f": 1.5},
                         {"request": "/a/b", "user_name": b"user 2"},
                         {"request": None}, {"id": b"mine"}):
                self.both("undoInfo", first, last, spec)

    def iterations(self):
        """The whole, and from and to everywhere."""
        common.equal(transactions(self.served), transactions(self.twin),
                     "iteration over everything")
        some = self.rng.sample(self.tids, min(6, len(self.tids)))
        bounds = [None, z64, maxtid]
        for tid in some:
            bounds += tid, p64(u64(tid) - 1), p64(u64(tid) + 1)
        for start in bounds:
            for stop in self.rng.sample(bounds, 3):
                common.equal(
                    transactions(self.served, start, stop),
                    transactions(self.twin, start, stop),
                    "iteration %r" % ((start, stop),))


def undo_id(tid):
    """What `undoLog` calls a transaction."""
    return base64.encodebytes(tid).rstrip(b"\n")


def main():
    args = common.arguments(__doc__, "twin", "seed")
    rng = random.Random(int(args.seed))
    twin = FileStorage(args.twin)
    with common.storage_of(args) as served:
        pair = Pair(served, twin, rng)
        pair.iterations()
        for number in range(TRANSACTIONS):
            pair.step()
            if number % 50 == 20:
                pair.iterations()
        common.equal(served._call("lastTransaction"), twin.lastTransaction(),
                     "last transaction")
        pair.questions()
        pair.iterations()
    twin.close()
    if not 10 < pair.failures < TRANSACTIONS / 2:
        raise AssertionError("%d transactions failed" % pair.failures)
    common.succeed(committed=len(pair.tids), failed=pair.failures)


if __name__ == "__main__":
    main()
