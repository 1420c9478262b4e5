"""The connection ends in the middle of something: the stage's proxy ends it at the message that the scenario names."""
import threading

import stage
from persistent_classes import Plain
from ZODB.blob import Blob
from ZODB.utils import z64


def _lost_commit(the):
    """A commit whose connection ends, and one after it."""
    the.connect_again()
    the.start()
    db = the.database()
    manager, _, root = the.connection(db)
    root["object"] = Plain(0)
    manager.commit()
    connection = stage.connection_of(db.storage)
    the.ask("faults")
    root["object"].value = 1
    stage.fails(Exception, manager.commit)
    manager.abort()
    _go_on(the, db, connection)


def _go_on(the, db, connection):
    stage.reconnected(db.storage, connection)
    manager, _, root = the.connection(db)
    root["object"].value += 10
    manager.commit()


disconnect_begin = disconnect_store = disconnect_vote = disconnect_voted = disconnect_finish = disconnect_finished = \
    _lost_commit


def disconnect_abort(the):
    the.connect_again()
    the.start()
    storage = the.storage()
    txn = stage.begin(u"", u"given up")
    storage.tpc_begin(txn)
    storage.store(storage.new_oid(), z64, stage.record(1), "", txn)
    storage.tpc_vote(txn)
    connection = stage.connection_of(storage)
    the.ask("faults")
    try:
        storage.tpc_abort(txn)
    except Exception as error:
        stage.note("abort: %.200r" % (error,))
    stage.reconnected(storage, connection)
    # The lock is free.
    stage.commit(storage, stage.begin(u"", u"another"), ("store", storage.new_oid(), z64, stage.record(1), ""))


def disconnect_lock(the):
    """One client holds the lock, two wait for it; one of these goes, then the first loses its connection."""
    the.connect_again()
    the.start()
    votes = []
    txns = [stage.begin(description=name) for name in (u"first", u"second", u"third")]
    storages = [the.storage(client_label=label) for label in ("first", "second", "third")]

    def vote(storage, txn):
        try:
            storage.tpc_vote(txn)
        except Exception as error:
            stage.note("vote: %.200r" % (error,))

    for waiting, (storage, txn) in enumerate(zip(storages, txns)):
        storage.tpc_begin(txn)
        storage.store(storage.new_oid(), z64, stage.record(1), "", txn)
        votes.append(threading.Thread(target=vote, args=(storage, txn)))
        votes[-1].start()
        if waiting == 0:
            votes[-1].join(stage.SOON_S)
        stage.eventually(lambda: the.status()["waiting"] == waiting, "the vote")
    the.close(storages[2])
    stage.eventually(lambda: the.status()["waiting"] == 1, "the end of the third client")
    connection = stage.connection_of(storages[0])
    the.ask("faults")
    stage.fails(Exception, storages[0].tpc_finish, txns[0])
    for thread in votes:
        thread.join(stage.SOON_S)
    stage.reconnected(storages[0], connection)
    stage.finish(storages[1], txns[1])


def disconnect_load(the):
    the.connect_again()
    the.start()
    db = the.database()
    manager, _, root = the.connection(db)
    root["object"] = Plain(5)
    manager.commit()
    reader = the.database(client_label="reader")
    the.ask("faults")

    def value():
        try:
            _, _, read_root = the.connection(reader)
            return read_root["object"].value
        except Exception as error:
            stage.note("load: %.200r" % (error,))

    stage.equal(stage.eventually(value, "the value"), 5, "value")


def disconnect_blob(the):
    the.connect_again()
    the.start_with_blobs()
    db = the.database(blob_dir="blobs")
    manager, _, root = the.connection(db)
    root["object"] = Plain(0)
    manager.commit()
    connection = stage.connection_of(db.storage)
    the.ask("faults")
    root["blob"] = Blob(b"0123456789abcdef" * 10000)
    stage.fails(Exception, manager.commit)
    manager.abort()
    _go_on(the, db, connection)


def disconnect_invalidation(the):
    """A client does not get what it was to be told, and asks for it when it is back."""
    the.connect_again()
    the.start()
    db = the.database()
    manager, _, root = the.connection(db)
    root["object"] = Plain(0)
    manager.commit()
    reader = the.database(client_label="reader")
    reading, _, read_root = the.connection(reader)
    stage.equal(read_root["object"].value, 0, "value")
    the.ask("faults")
    root["object"].value = 1
    manager.commit()
    stage.catch_up(reader, db)
    reading.begin()
    stage.equal(read_root["object"].value, 1, "value")
