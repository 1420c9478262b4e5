"""Makes fixtures/filestorage: small data files written by Python's FileStorage, and what Python reads in them.

    target/peers/6.2/bin/python server/tests/data/make_filestorage.py fixtures/filestorage

All tids are fixed, so that a second run makes the same bytes. What each folder is for is told in
fixtures/filestorage/README.md.
"""
import base64
import json
import os
import shutil
import struct
import sys
import tempfile

import ZODB.POSException
from persistent.TimeStamp import TimeStamp
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, u64, z64


def tid(n):
    """The n-th tid: n minutes after 2026-11-20 10:00 and a bit."""
    return TimeStamp(2026, 11, 20, 10 + n // 60, n % 60, 1.5 + n / 7.0).raw()


class Maker:
    """A new storage, and a record of what was asked of it."""

    def __init__(self, folder):
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.path = os.path.join(folder, "Data.fs")
        self.storage = FileStorage(self.path)
        self.count = 0
        self.transactions = []

    def begin(self, user="", description="", extension=None, status=" "):
        self.count += 1
        self.tid = tid(self.count)
        self.meta = TransactionMetaData(user, description, extension)
        self.storage.tpc_begin(self.meta, self.tid, status)
        self.entry = dict(
            tid=self.tid.hex(), status=status, user=self.meta.user.hex(),
            description=self.meta.description.hex(), extension=self.meta.extension_bytes.hex(), records=[])

    def serial(self, oid):
        try:
            return self.storage.getTid(p64(oid))
        except ZODB.POSException.POSKeyError:
            pos = self.storage._index_get(p64(oid), 0)
            return self.storage._read_data_header(pos).tid if pos else z64

    def store(self, oid, data):
        self.storage.store(p64(oid), self.serial(oid), data, "", self.meta)
        self.entry["records"].append(dict(oid=p64(oid).hex(), data=data.hex()))

    def delete(self, oid):
        self.storage.deleteObject(p64(oid), self.serial(oid), self.meta)
        self.entry["records"].append(dict(oid=p64(oid).hex(), data=None))

    def finish(self):
        self.storage.tpc_vote(self.meta)
        self.storage.tpc_finish(self.meta)
        self.transactions.append(self.entry)
        return self.tid

    def commit(self, *records, **metadata):
        self.begin(**metadata)
        for oid, data in records:
            self.store(oid, data)
        return self.finish()

    def undo(self, undone):
        self.begin(description="undo")
        self.take_back(undone)
        return self.finish()

    def take_back(self, undone):
        self.storage.undo(base64.encodebytes(undone).rstrip(b"\n"), self.meta)
        self.entry["records"].append(dict(undo=undone.hex()))

    def undo_all(self, *undone):
        self.begin(description="several undone")
        for each in undone:
            self.take_back(each)
        return self.finish()

    def refused(self, undone):
        """What Python says to an undo that is not possible."""
        self.begin()
        try:
            self.take_back(undone)
        except ZODB.POSException.MultipleUndoErrors as error:
            why = [[oid.hex(), one._reason] for oid, one in error._errs]
        except ZODB.POSException.UndoError as error:
            why = error._reason
        self.storage.tpc_abort(self.meta)
        self.count -= 1
        self.transactions.append(dict(undo=undone.hex(), refused=why))

    def close(self):
        self.storage.close()
        tidy(self.folder)


def tidy(folder):
    for name in os.listdir(folder):
        if name not in ("Data.fs", "Data.fs.index", "expected.json", "transactions.json"):
            os.remove(os.path.join(folder, name))


def text(data_tid_end):
    if data_tid_end is None:
        return None
    data, serial, end = data_tid_end
    return [data.hex(), serial.hex(), end and end.hex()]


def ask(method, *args):
    try:
        return method(*args)
    except ZODB.POSException.POSKeyError:
        return "POSKeyError"


def iterated(txn):
    return dict(
        tid=txn.tid.hex(), status=txn.status, user=txn.user.hex(), description=txn.description.hex(),
        extension=txn.extension_bytes.hex(),
        records=[[record.oid.hex(), record.tid.hex(), record.data and record.data.hex(),
                  record.data_txn and record.data_txn.hex()] for record in txn])


def expect(folder):
    """Writes down what Python reads in the file, from a copy opened for reading only."""
    with tempfile.TemporaryDirectory() as copy:
        path = os.path.join(copy, "Data.fs")
        data = open(os.path.join(folder, "Data.fs"), "rb").read()
        if data[:4] == b"FS21":  # Python 3 refuses the magic; the layout is the same
            data = b"FS30" + data[4:]
        open(path, "wb").write(data)
        storage = FileStorage(path, read_only=True)
        oids = sorted(set(storage._index) | {p64(7), p64(0xffff)})
        bounds = {b"\x7f" + b"\xff" * 7, z64}
        for n in range(1, 13):
            bounds |= {tid(n), p64(u64(tid(n)) + 1)}
        load_before, load_serial, get_tid = [], [], []
        for oid in oids:
            for bound in sorted(bounds):
                reply = ask(storage.loadBefore, oid, bound)
                load_before.append([oid.hex(), bound.hex(), reply if reply == "POSKeyError" else text(reply)])
                reply = ask(storage.loadSerial, oid, bound)
                if reply != "POSKeyError":
                    load_serial.append([oid.hex(), bound.hex(), reply.hex()])
            reply = ask(storage.getTid, oid)
            get_tid.append([oid.hex(), reply if reply == "POSKeyError" else reply.hex()])
        try:
            invalidations = [
                [[t.hex(), sorted({oid.hex() for oid in records})] for t, records in storage.lastInvalidations(n)]
                for n in (1, 3, 1000)]
        except UnboundLocalError:  # ZODB 6.4 cannot iterate over a transaction with status u
            invalidations = None
        history = [
            [oid.hex(), [[entry["tid"].hex(), entry["time"].hex(), entry["size"]] for entry in entries]]
            for oid in oids for entries in [ask(storage.history, oid, 1000)] if entries != "POSKeyError"]
        undo_log = [[entry["id"].decode(), entry["time"].hex(), entry["size"]] for entry in storage.undoLog(0, 1000)]
        try:
            iteration = list(map(iterated, storage.iterator()))
            starts = [[bound.hex(), [txn.tid.hex() for txn in storage.iterator(bound)]] for bound in sorted(bounds)]
        except UnboundLocalError:
            iteration = starts = None
        current, following = [], None
        while True:
            reply = ask(storage.record_iternext, following)
            if reply == "POSKeyError":  # a deleted object: the next one cannot be asked for
                break
            oid, serial, data, following = reply
            current.append([oid.hex(), serial.hex(), data.hex(), following and following.hex()])
            if following is None:
                break
        expected = dict(
            len=len(storage), size=storage.getSize(), last=storage.lastTransaction().hex(),
            max_oid=storage._oid.hex(), load_before=load_before, load_serial=load_serial, get_tid=get_tid,
            last_invalidations=invalidations, history=history, undo_log=undo_log, iteration=iteration, starts=starts,
            current=current)
        storage.close()
    json.dump(expected, open(os.path.join(folder, "expected.json"), "w"), indent=0)


def write_history(maker):
    """Everything that a history can hold."""
    maker.commit((0, b"root"), (1, b"one, first"), user="", description="initial database creation")
    maker.commit((1, b"one, second"), (2, b"two"), user="/ admin", description="edit\xe4",
                 extension={"request": "/a/b", "n": 3})
    created = maker.commit((3, b"three"))
    maker.undo(created)
    changed = maker.commit((1, b"one, third, to be undone"), (0x1_0000, b"of another bucket"))
    maker.undo(changed)
    maker.begin(user="gc")
    maker.delete(2)
    maker.finish()
    maker.begin(description="the same object twice, as blobs are")
    maker.store(4, b"four")
    maker.store(4, b"four, again")
    maker.store(1, b"one, fourth")
    maker.store(1, b"one, fourth, again")
    maker.finish()
    maker.begin(description="no records")
    maker.finish()
    maker.commit((0, b"r" * 5000), (5, b"x"))
    undone = maker.undo(maker_last(maker))
    maker.undo(undone)


def maker_last(maker):
    return bytes.fromhex(maker.transactions[-1]["tid"])


def write_plain(maker):
    """Only what a store or a deletion makes: the input is in transactions.json, so that others can repeat it."""
    maker.commit((0, b"root"), description="initial database creation")
    maker.commit((1, b"1" * 300), (2, b"2"), user="u" * 255, description="d" * 256, extension={"k": [1, 2]})
    maker.commit((1, b"1, again"), (0x1_0000, b"a"), (0x1_ffff, b"b"), (0x123456789abcdef, b"c"))
    maker.begin(status="p")
    maker.store(2, b"of a packed transaction")
    maker.finish()
    maker.begin()
    maker.delete(1)
    maker.store(3, b"three")
    maker.store(3, b"three, again")
    maker.store(2, bytes(range(256)) * 20)
    maker.store(2, b"two, last")
    maker.finish()
    maker.begin()
    maker.finish()
    maker.commit((1, b"born again"))
    maker.begin(status="p", user="someone", description="many")
    for oid in range(100, 132):
        maker.store(oid, b"%d" % oid)
    maker.finish()
    maker.commit((200, b"\0" * 600), (0, b"end"))
    json.dump(maker.transactions, open(os.path.join(maker.folder, "transactions.json"), "w"), indent=0)


def write_undo(maker):
    """Undo in every form, with the input in transactions.json."""
    maker.commit((0, b"root"), (1, b"a"), (2, b"a"))
    second = maker.commit((1, b"b"), (2, b"b"), user="u")
    third = maker.commit((1, b"c"), (3, b"new"))
    maker.refused(second)
    maker.refused(tid(100))
    fourth = maker.undo(third)
    maker.refused(third)
    maker.undo_all(fourth, third, second)
    maker.commit((1, b"c"), (3, b"new"))
    # The same data as before: another way to the same state.
    maker.undo(third)
    first = bytes.fromhex(maker.transactions[0]["tid"])
    maker.refused(first)
    maker.begin(description="twice in one transaction")
    maker.store(2, b"x")
    maker.store(2, b"y")
    twice = maker.finish()
    maker.undo(twice)
    maker.begin()
    maker.delete(2)
    deleted = maker.finish()
    maker.undo(deleted)
    maker.undo(maker_last(maker))
    json.dump(maker.transactions, open(os.path.join(maker.folder, "transactions.json"), "w"), indent=0)


def main(target):
    maker = Maker(os.path.join(target, "history"))
    write_history(maker)
    maker.close()

    maker = Maker(os.path.join(target, "undo"))
    write_undo(maker)
    maker.close()

    maker = Maker(os.path.join(target, "plain"))
    write_plain(maker)
    maker.close()

    # Packed between the two changes of object 1; the undo behind it needs a revision from before.
    maker = Maker(os.path.join(target, "packed"))
    maker.commit((0, b"root"), (1, b"1a"), (2, b"2a"), (9, b"garbage"))
    maker.commit((1, b"1b"), (3, b"3a"))
    maker.commit((2, b"2b"), description="to be undone")
    third = tid(maker.count)
    maker.commit((1, b"1c"))
    maker.undo(third)
    maker.storage.pack(
        TimeStamp(third).timeTime() + 1,
        lambda data: [p64(1), p64(2), p64(3)] if data == b"root" else [])
    maker.commit((1, b"1d"), (4, b"4"))
    maker.close()

    # Voted, not finished: the file as it is then.
    maker = Maker(os.path.join(target, "checkpoint"))
    maker.commit((0, b"root"), (1, b"one"))
    maker.commit((1, b"one, second"))
    maker.begin(description="in doubt")
    maker.store(1, b"one, third")
    maker.store(2, b"two")
    maker.storage.tpc_vote(maker.meta)
    kept = open(maker.path, "rb").read()
    maker.storage.tpc_abort(maker.meta)
    maker.close()
    open(maker.path, "wb").write(kept)

    # Python 2 wrote another magic and the same layout (protocol reference 14.1).
    folder = os.path.join(target, "python2")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(os.path.join(target, "history"), folder)
    with open(os.path.join(folder, "Data.fs"), "r+b") as file:
        file.write(b"FS21")

    # Undone in place, as before ZODB 3.2: status u, made by hand from the last transaction but one.
    maker = Maker(os.path.join(target, "undone"))
    maker.commit((0, b"root"), (1, b"one"))
    before = maker.storage.getSize()
    maker.commit((1, b"one, undone in place"), (7, b"seven"))
    maker.close()
    with open(maker.path, "r+b") as file:
        file.seek(before + 16)
        file.write(b"u")
    os.remove(maker.path + ".index")

    for name in ("history", "undo", "plain", "packed", "checkpoint", "undone"):
        expect(os.path.join(target, name))


main(sys.argv[1])
