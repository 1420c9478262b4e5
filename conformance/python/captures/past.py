"""What was: undo, history, iteration, packing, and transactions that are copied."""
import gc

import stage
from persistent_classes import Plain
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError, UndoError
from ZODB.utils import p64, u64, z64

try:
    from ZODB.utils import maxtid
except ImportError:  # ZODB 4
    maxtid = b"\x7f" + b"\xff" * 7


def _revisions(the, db, count=3):
    """An object with so many revisions: what a connection is, the object's oid, and the tids."""
    manager, connection, root = the.connection(db)
    root["object"] = Plain(0)
    tids = []
    for value in range(1, count + 1):
        root["object"].value = value
        manager.get().note(u"value %d" % value)
        manager.get().setUser(u"somebody")
        manager.commit()
        tids.append(db.storage.lastTransaction())
    return manager, root, root["object"]._p_oid, tids


def undo(the):
    the.start()
    db = the.database()
    manager, root, oid, _ = _revisions(the, db)
    storage = db.storage
    storage.undoInfo(0, -20)
    storage.undoInfo(0, -20, {"user_name": b"/ somebody"})
    last, middle = [info["id"] for info in db.undoLog(0, 2)]
    db.undo(last, manager.get())
    manager.commit()
    manager.begin()
    stage.equal(root["object"].value, 2, "value after the undo")
    # The undo itself can be undone.
    db.undo(db.undoLog(0, 1)[0]["id"], manager.get())
    manager.commit()
    manager.begin()
    stage.equal(root["object"].value, 3, "value after the redo")
    db.undo(middle, manager.get())
    stage.fails(UndoError, manager.commit)
    manager.abort()


def history(the):
    the.start()
    db = the.database()
    _, _, oid, tids = _revisions(the, db)
    storage = db.storage
    storage.history(oid)
    storage.history(oid, size=10)
    storage.getTid(oid)
    for tid in tids:
        storage.loadSerial(oid, tid)
        stage.server_call(storage, "loadBefore", oid, tid)
    stage.server_call(storage, "loadBefore", oid, p64(u64(tids[-1]) + 1))
    unknown = p64(2 ** 40)
    for call in storage.history, storage.getTid:
        stage.fails(KeyError, call, unknown)
    stage.fails(KeyError, storage.loadSerial, oid, p64(u64(tids[0]) + 1))


def iteration(the):
    the.start()
    db = the.database()
    _, _, _, tids = _revisions(the, db)
    storage = db.storage
    for start, stop in (None, None), (tids[1], None), (None, tids[0]), (tids[1], tids[1]):
        for txn in storage.iterator(start, stop):
            for record in txn:
                stage.equal(record.tid, txn.tid, "tid")
    # Nobody goes to the end of this one.
    iterator = storage.iterator()
    next(iter(next(iterator)))
    del iterator
    gc.collect()
    # The end of a transaction is when a client thinks of it.
    txn = stage.begin()
    storage.tpc_begin(txn)
    storage.tpc_abort(txn)
    list(storage.iterator(tids[2]))
    oid = None
    while True:
        oid, tid, data, following = storage.record_iternext(oid)
        if following is None:
            break
        oid = following


def pack(the):
    the.start()
    db = the.database()
    manager, root, oid, tids = _revisions(the, db)
    storage = db.storage
    root["garbage"] = Plain(0)
    manager.commit()
    del root["garbage"]
    manager.commit()
    db.pack()
    stage.fails(KeyError, storage.loadSerial, oid, tids[0])
    storage.history(oid, size=10)
    storage.undoLog(0, -20)


def restore(the):
    """The transactions of a file are copied into the server: an undo and a deletion among them."""
    source = FileStorage("source.fs", create=True)
    oids = [p64(number) for number in range(3)]
    serials = dict.fromkeys(oids, z64)
    number = [0]

    def transaction(description, *operations):
        number[0] += 1
        # A tid is made of date and time: these are minutes apart, at the beginning of 2020.
        tid = p64(0x03D4DC0000000000 + (number[0] << 32))
        txn = stage.begin(u"somebody", description, number=number[0])
        source.tpc_begin(txn, tid)
        for operation in operations:
            getattr(source, operation[0])(*(operation[1:] + (txn,)))
        source.tpc_vote(txn)
        source.tpc_finish(txn)
        return tid

    for value in range(2):
        stores = [("store", oid, serials[oid], stage.record(value), "") for oid in oids]
        tid = transaction(u"stores", *stores)
        serials = dict.fromkeys(oids, tid)
    transaction(u"undo", ("undo", source.undoLog(0, 1)[0]["id"]))
    transaction(u"deletion", ("deleteObject", oids[2], source.lastTransaction()))
    transaction(u"nothing")

    the.start()
    storage = the.storage()
    storage.copyTransactionsFrom(source)
    stage.equal(storage.getTid(oids[0]), source.getTid(oids[0]), "tid")
    # As a transaction that was packed comes along.
    tid = p64(u64(source.lastTransaction()) + (1 << 32))
    txn = stage.begin(u"", u"packed")
    storage.tpc_begin(txn, tid, "p")
    storage.restore(oids[1], tid, stage.record(7), "", None, txn)
    storage.tpc_vote(txn)
    stage.finish(storage, txn)
    source.close()


def delete(the):
    the.start()
    db = the.database()
    manager, root, oid, tids = _revisions(the, db)
    storage = db.storage
    serial = stage.commit(storage, stage.begin(u"", u"deleted"), ("deleteObject", oid, tids[-1]))
    stage.fails(POSKeyError, stage.server_call, storage, "loadBefore", oid, maxtid)
    stage.server_call(storage, "loadBefore", oid, serial)
    # Once more, and with a wrong serial, and what never was.
    for wrong in (oid, serial), (z64, p64(1)), (p64(2 ** 40), serial):
        try:
            stage.commit(storage, stage.begin(), ("deleteObject",) + wrong)
        except Exception as error:
            stage.note("deletion refused: %.200r" % (error,))
