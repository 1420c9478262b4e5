"""Commits, and what becomes of those that meet others."""
import threading

import stage
from persistent_classes import Counter, Plain
from ZODB.POSException import ConflictError
from ZODB.utils import p64, u64, z64


def commit(the):
    the.start()
    db = the.database()
    manager, _, root = the.connection(db)
    root["plain"] = Plain(1)
    manager.get().note(u"first")
    manager.get().setUser(u"somebody")
    manager.commit()

    reader = the.database(client_label="reader")
    reading, _, read_root = the.connection(reader)
    stage.equal(read_root["plain"].value, 1, "value")
    root["plain"].value = 2
    manager.commit()
    stage.catch_up(reader, db)
    reading.begin()
    stage.equal(read_root["plain"].value, 2, "value")


def conflict(the):
    the.start()
    _conflict(the, Plain)


def _conflict(the, kind):
    """Two clients change what both have read, at the interface of storages: their caches would be in the way."""
    first, second = the.storage(), the.storage(client_label="second")
    oid = first.new_oid()

    def store(storage, description, serial, value):
        txn = stage.begin(u"", description)
        return stage.commit(storage, txn, ("store", oid, serial, stage.record(value, kind), ""))

    created = store(first, u"created", z64, 1)
    changed = store(second, u"changed", created, 101)
    # The other one knows of it, and still says what it has read.
    stage.eventually(lambda: stage.last_told(first) >= changed, "the invalidation")
    if kind is Plain:
        stage.fails(ConflictError, store, first, u"in conflict", created, 11)
        store(first, u"after it has read that", changed, 111)
    else:
        store(first, u"in conflict", created, 11)
    last = stage.server_call(first, "lastTransaction")
    stage.eventually(lambda: stage.last_told(second) >= last, "the invalidation")
    for storage in first, second:
        data = storage.loadBefore(oid, stage.following(last))[0]
        # 111 as the value of the only attribute.
        stage.equal(data[-4:], b"Kos.", "what is there in the end")


def resolved(the):
    the.start()
    _conflict(the, Counter)


def client_resolution(the):
    the.start(zeo=["client-conflict-resolution true"])
    _conflict(the, Counter)


def client_resolution_fails(the):
    the.start(zeo=["client-conflict-resolution true"])
    _conflict(the, Plain)


def check_current(the):
    the.start()
    db, other = the.database(), the.database(client_label="other")
    manager, connection, root = the.connection(db)
    root["read"], root["written"] = Plain(1), Plain(1)
    manager.commit()
    stage.catch_up(other, db)
    other_manager, _, other_root = the.connection(other)

    def change():
        stage.equal(root["read"].value, root["read"].value, "value")
        connection.readCurrent(root["read"])
        root["written"].value += 1

    change()
    manager.commit()
    change()
    other_root["read"].value = 2
    other_manager.commit()
    stage.fails(ConflictError, manager.commit)
    manager.abort()


def abort(the):
    the.start()
    storage = the.storage()
    oid = storage.new_oid()
    data = stage.record(1)
    txn = stage.begin(u"somebody", u"given up after a store")
    storage.tpc_begin(txn)
    storage.store(oid, z64, data, "", txn)
    storage.tpc_abort(txn)
    txn = stage.begin(u"somebody", u"given up after the vote")
    storage.tpc_begin(txn)
    storage.store(oid, z64, data, "", txn)
    storage.tpc_vote(txn)
    storage.tpc_abort(txn)
    txn = stage.begin(u"", u"given up at once")
    storage.tpc_begin(txn)
    storage.tpc_abort(txn)
    stage.commit(storage, stage.begin(u"", u"nothing in it"))
    stage.commit(storage, stage.begin(u"", u"at last"), ("store", oid, z64, data, ""))


def lock(the):
    """A client has voted, another one waits with its vote; then the first finishes, and once gives up."""
    the.start()
    first, second = the.storage(), the.storage(client_label="second")
    for ends in "finish", "abort":
        txn = stage.begin(u"", u"first")
        first.tpc_begin(txn)
        first.store(first.new_oid(), z64, stage.record(1), "", txn)
        first.tpc_vote(txn)
        other_txn = stage.begin(u"", u"second")
        second.tpc_begin(other_txn)
        second.store(second.new_oid(), z64, stage.record(2), "", other_txn)
        vote = threading.Thread(target=second.tpc_vote, args=(other_txn,))
        vote.start()
        stage.eventually(lambda: the.status()["waiting"], "the second vote")
        if ends == "finish":
            stage.finish(first, txn)
        else:
            first.tpc_abort(txn)
        vote.join(stage.SOON_S)
        stage.finish(second, other_txn)


def metadata(the):
    the.start()
    storage = the.storage()
    serial = z64
    oid = storage.new_oid()
    for user, description, extension in (
            (u"", u"", {}),
            (u"J\xf6rg \u2603", u"\U0001f40d\n\t\0 and so on", {}),
            (u"/ path user", u"plain", {"text": u"\xe9", "empty": u"", "int": 1, "large": 2 ** 40, "negative": -7}),
            (u"u", u"d", {"float": 1.5, "none": None, "yes": True, "bytes": b"\0\xff", "tuple": (1, (2,), ())}),
            (u"u", u"d", {"nested": {"deeper": {"deepest": {}}}, u"\u2603": u"\u2603"}),
            (u"u" * 65535, u"d" * 65535, {"x": u"y" * 65000}),
            (u"u" * 65536, u"", {})):
        txn = stage.begin(user, description, **dict((str(key), value) for key, value in extension.items()
                                                    if key != u"\u2603"))
        try:
            serial = stage.commit(storage, txn, ("store", oid, serial, stage.record(1), ""))
        except Exception as error:
            stage.note("metadata refused: %.200r" % (error,))
    list(map(list, storage.iterator()))
    storage.undoLog(0, -20)


def order(the):
    """Phases of a commit out of order, said by a client that says what it is told."""
    the.start()
    storage = the.storage()
    oid = storage.new_oid()
    data = stage.record(1)

    def tried(name, *arguments):
        try:
            return stage.server_call(storage, name, *arguments)
        except Exception as error:
            stage.note("%s: %.200r" % (name, error))

    for name, arguments in (
            ("vote", (1,)), ("tpc_abort", (1,)),
            ("tpc_begin", (1, stage.text(u"u"), stage.text(u"d"), {}, None, " ")),
            ("tpc_begin", (2, stage.text(u"u"), stage.text(u"d"), {}, None, " ")),
            ("storea", (oid, z64, data, 1)), ("storea", (oid, z64, data, 2)),
            ("vote", (2,)), ("vote", (1,)), ("vote", (1,)), ("tpc_finish", (1,)),
            ("tpc_abort", (1,))):
        tried(name, *arguments)
    tried("getTid", p64(u64(oid) + 5000))
