"""Transactions that do not end well leave nothing behind, least of all the lock."""
import os
import signal
import threading

import common
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import POSKeyError
from ZODB.utils import z64

DATA = common.record(1)
# A client that is gone must not hold up the others for longer.
RELEASE_LIMIT_S = 5


def hold_lock(args, pipe):
    """A client that votes, and is killed with the lock in its hands."""
    storage = common.open_storage(args)
    common.receive(pipe, "permission to vote")
    txn = TransactionMetaData(b"killed")
    oids = storage.new_oid(), storage.new_oid()
    storage.tpc_begin(txn)
    for oid in oids:
        storage.store(oid, z64, DATA, "", txn)
    storage.tpc_vote(txn)
    pipe.send(oids)
    common.receive(pipe, "the end", common.SCRIPT_LIMIT_S)


def unknown(storage, oid):
    """The server must not know the object."""
    with common.raises(POSKeyError, "load of an aborted object"):
        storage._call("loadBefore", oid, b"\x7f" + b"\xff" * 7)


def aborted(storage, vote):
    """Store an object, vote or not, and abort."""
    before = storage._call("lastTransaction")
    txn = TransactionMetaData(b"aborted")
    oid = storage.new_oid()
    storage.tpc_begin(txn)
    storage.store(oid, z64, DATA, "", txn)
    if vote:
        storage.tpc_vote(txn)
    storage.tpc_abort(txn)
    unknown(storage, oid)
    common.equal(storage._call("lastTransaction"), before, "last transaction")
    status = storage._call("server_status")
    common.equal(status["active_txns"], 0, "active transactions")
    common.equal(status["lock_time"], None, "time of the lock")
    return oid


def main():
    args = common.arguments(__doc__)
    holder, pipe = common.start_process(hold_lock, args)
    with common.storage_of(args) as storage:
        for vote in False, True:
            oid = aborted(storage, vote)
            # The same object, and the lock, are free for the next one.
            tid = common.commit(storage, TransactionMetaData(b"next"),
                                common.store(oid, z64, DATA))
            common.equal(storage._call("loadBefore", oid, b"\x7f" + b"\xff" * 7),
                         (DATA, tid, None), "the next transaction's object")

        pipe.send("vote")
        wanted_oid, killed_oid = common.receive(pipe, "the vote of the other process")
        finished = []

        def commit():
            # Not of any object: our server would not have it wait.
            finished.append(common.commit(
                storage, TransactionMetaData(b"waiting"),
                common.store(wanted_oid, z64, DATA)))

        waiting = threading.Thread(target=commit, daemon=True)
        waiting.start()
        with common.storage_of(args) as watcher:
            def status():
                return watcher._call("server_status")

            common.eventually(lambda: status()["waiting"] == 1, "a waiting vote")
            common.equal(finished, [], "commits while the lock is held")
            os.kill(holder.pid, signal.SIGKILL)
            waiting.join(RELEASE_LIMIT_S)
            common.equal(len(finished), 1, "commits after the holder is gone")
            unknown(watcher, killed_oid)
            common.eventually(lambda: status()["connections"] == 2, "two clients")
            common.equal(status()["waiting"], 0, "waiting")
            common.equal(status()["active_txns"], 0, "active transactions")
            common.equal(watcher._call("lastTransaction"), finished[0],
                         "last transaction")
    common.succeed()


if __name__ == "__main__":
    main()
