"""What a server does not do, or not any longer."""
import stage
from persistent_classes import Plain
from ZODB.utils import z64


def _fill(the):
    the.start()
    db = the.database()
    manager, _, root = the.connection(db)
    root["object"] = Plain(1)
    manager.commit()
    the.close(db)


def read_only(the):
    """A client that only reads, at a server that writes; then one of each kind at a server that only reads."""
    _fill(the)
    storage = the.storage(read_only=True)
    stage.fails(Exception, stage.server_call, storage, "new_oids")
    the.close(storage)
    the.ask("stop")
    the.start(zeo=["read-only true"])
    db = the.database(read_only=True)
    _, _, root = the.connection(db)
    stage.equal(root["object"].value, 1, "value")
    for name, arguments in (("new_oids", ()), ("vote", (1,)), ("pack", (0.0, True))):
        try:
            stage.server_call(db.storage, name, *arguments)
        except Exception as error:
            stage.note("%s: %.200r" % (name, error))
    stage.fails(Exception, db.storage.tpc_begin, stage.begin())
    the.knock()


def fallback(the):
    """A client would rather write, but reads while the server lets it no more."""
    the.connect_again()
    _fill(the)
    the.ask("stop")
    the.start(zeo=["read-only true"])
    db = the.database(read_only_fallback=True)
    manager, _, root = the.connection(db)
    stage.equal((db.storage.isReadOnly(), root["object"].value), (True, 1), "read-only, value")
    connection = stage.connection_of(db.storage)
    the.ask("stop")
    stage.eventually(lambda: not db.storage.is_connected(), "the disconnection")
    the.start()
    stage.reconnected(db.storage, connection)
    stage.eventually(lambda: not db.storage.isReadOnly(), "a server that writes")
    manager.begin()
    root["object"].value = 2
    manager.commit()


def unknown_storage(the):
    the.start()
    the.knock(storage="nowhere")


def timeout(the):
    """A client holds the commit lock longer than it may."""
    the.connect_again()
    the.start(zeo=["transaction-timeout 1"])
    storage = the.storage()
    oid = storage.new_oid()
    txn = stage.begin(u"", u"too slow")
    storage.tpc_begin(txn)
    storage.store(oid, z64, stage.record(1), "", txn)
    storage.tpc_vote(txn)
    # What the server says of itself does not show it.
    connection = stage.connection_of(storage)
    stage.reconnected(storage, connection)
    stage.fails(Exception, storage.tpc_finish, txn)
    try:
        storage.tpc_abort(txn)
    except Exception as error:
        stage.note("abort: %.200r" % (error,))
    # No other commit: servers from ZEO 5.4 on keep the lock for ever.
    stage.fails(KeyError, storage.history, oid)
