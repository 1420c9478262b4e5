"""Each method that clients call: the shape of its reply, and its errors."""
import json
import os
import socket
import struct
import tempfile

import common
import zope.interface
from ZEO.Exceptions import ServerException
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import (
    ConflictError, POSKeyError, ReadConflictError, StorageTransactionError)
from ZODB.utils import maxtid, p64, u64, z64

ONE, TWO, THREE = (common.record(value) for value in (1, 2, 3))
UNKNOWN = p64(2**40)
STATUS = {
    "connections": int, "loads": int, "stores": int, "commits": int,
    "aborts": int, "active_txns": int, "lock_time": (float, type(None)),
    "conflicts": int, "conflicts_resolved": int, "start": str, "waiting": int,
    "timeout-thread-is-alive": (bool, str), "last-transaction": str,
}


def fails(kind, arguments, call, *call_arguments):
    """The call must raise exactly this; any arguments if they are None."""
    with common.raises(kind, repr(call_arguments)) as caught:
        call(*call_arguments)
    if arguments is not None:
        common.equal(caught[0].args, arguments, "arguments of the error")
    return caught[0]


def plus(tid, number):
    """The tid so many after this one."""
    return p64(u64(tid) + number)



def check_session(args, call, file):
    """register, get_info, ping, set_client_label."""
    info = call("get_info")
    common.equal(list(info), ["length", "size", "name", "supportsUndo",
                              "supports_record_iternext", "interfaces"],
                 "keys of get_info")
    common.equal(info["size"], os.path.getsize(file), "size")
    common.equal(info["supportsUndo"], True, "supportsUndo")
    common.equal(info["supports_record_iternext"], True, "record_iternext")
    common.equal(type(info["name"]), str, "type of the name")
    with tempfile.TemporaryDirectory() as directory:
        storage = FileStorage(os.path.join(directory, "x.fs"))
        interfaces = zope.interface.providedBy(storage).__iro__
        storage.close()
    common.equal(info["interfaces"],
                 tuple((each.__module__, each.__name__) for each in interfaces),
                 "interfaces")
    common.equal(call("ping"), None, "ping")
    common.equal(call("set_client_label", "label \N{SNOWMAN}"), None, "label")
    fails(TypeError, None, call, "getTid")

    # A client of an unknown storage gets an error, and only logs it.
    with common.LogCatcher() as log:
        stranger = common.ClientStorage(args.address, "nowhere", wait=False)
        error = common.eventually(lambda: log.errors, "an error")[0]
        stranger.close()
    common.equal((type(error), error.args),
                 (ServerException,
                  ("builtins.ValueError", ("unknown storage: nowhere",))),
                 "error of register")


def check_status(args, call, connections):
    """server_status, and the same for probes without a client."""
    status = call("server_status")
    common.equal(list(status), list(STATUS), "keys of server_status")
    for key, kinds in STATUS.items():
        if not isinstance(status[key], kinds):
            raise AssertionError("%s: %r" % (key, status[key]))
    common.equal(status["last-transaction"], call("lastTransaction").hex(),
                 "last transaction of the status")
    common.equal(status["connections"], connections, "connections")

    with socket.create_connection(args.address, common.SOON_S) as probe, \
            probe.makefile("rb") as stream:
        def frame():
            length, = struct.unpack(">I", stream.read(4))
            return stream.read(length)

        common.equal(frame(), args.greeting.encode(), "greeting")
        probe.sendall(struct.pack(">I", 4) + b"ruok")
        common.equal(json.loads(frame()), {"1": status}, "answer to ruok")
        common.equal(stream.read(), b"", "what follows it")


def check_reading(call, oid, first, second):
    """lastTransaction, loadBefore, getTid, loadSerial, getInvalidations."""
    common.equal(call("lastTransaction"), second, "lastTransaction")
    for tid, expected in (
            (maxtid, (TWO, second, None)),
            (plus(second, 1), (TWO, second, None)),
            (second, (ONE, first, second)),
            (plus(first, 1), (ONE, first, second)),
            (first, None),
            (z64, None)):
        common.equal(call("loadBefore", oid, tid), expected, "loadBefore")
    common.equal(call("getTid", oid), second, "getTid")
    common.equal(call("loadSerial", oid, first), ONE, "loadSerial")
    common.equal(call("loadSerial", oid, second), TWO, "loadSerial")
    fails(POSKeyError, (UNKNOWN,), call, "loadBefore", UNKNOWN, maxtid)
    fails(POSKeyError, (UNKNOWN,), call, "getTid", UNKNOWN)
    fails(POSKeyError, (UNKNOWN,), call, "loadSerial", UNKNOWN, first)
    fails(POSKeyError, (oid,), call, "loadSerial", oid, plus(first, 1))

    for since, oids in (first, [oid]), (second, []):
        tid, changed = call("getInvalidations", since)
        common.equal((tid, list(changed)), (second, oids), "getInvalidations")


def check_new_oids(call):
    """new_oids: how many, and which."""
    given = []
    for arguments, count in (((), 100), ((5,), 5), ((1000,), 100), ((0,), 1)):
        oids = call("new_oids", *arguments)
        common.equal(len(oids), count, "number of new oids")
        given.extend(oids)
    start = u64(given[0])
    common.equal(given, [p64(start + n) for n in range(len(given))], "new oids")
    if not given[0] > z64:
        raise AssertionError("the root's oid is given away")


def check_order(call, oid):
    """The two phases out of order; the transaction's id is any integer."""
    big = 2**64 - 1
    begin = b"user", b"description", {"key": "value"}, None, " "
    for serial_method in (("vote", 1), ("storea", oid, z64, ONE, 1),
                          ("deleteObject", oid, z64, 1),
                          ("checkCurrentSerialInTransaction", oid, z64, 1)):
        fails(StorageTransactionError, (None, 1), call, *serial_method)
    common.equal(call("tpc_finish", 1), None, "tpc_finish of nothing")
    common.equal(call("tpc_abort", 1), None, "tpc_abort of nothing")

    common.equal(call("tpc_begin", big, *begin), None, "tpc_begin")
    common.equal(call("tpc_begin", big, *begin), None, "tpc_begin again")
    fails(StorageTransactionError,
          ("Multiple simultaneous tpc_begin requests from one client.",),
          call, "tpc_begin", 2, *begin)
    fails(StorageTransactionError, (big, 2), call, "vote", 2)
    common.equal(call("tpc_finish", 2), None, "tpc_finish of another")
    common.equal(call("tpc_abort", 2), None, "tpc_abort of another")
    fails(ServerException, ("builtins.AssertionError", ("finished called wo lock",)),
          call, "tpc_finish", big)
    common.equal(list(call("vote", big)), [], "vote")
    fails(StorageTransactionError, ("Already voting (locked)",),
          call, "vote", big)
    before = call("lastTransaction")
    tid = call("tpc_finish", big)
    common.equal((len(tid), tid > before, call("lastTransaction")),
                 (8, True, tid), "tpc_finish")
    common.equal(call("tpc_finish", big), None, "tpc_finish again")
    common.equal(call("tpc_abort", big), None, "tpc_abort after the end")
    # A client that was reconnected in the middle votes like this.
    fails(StorageTransactionError, (None, big), call, "vote", big)


def check_votes(storage, oid, first, second):
    """What a vote finds wrong; and that nothing of it stays."""
    before = storage._call("lastTransaction")
    commit = common.commit

    def txn():
        return TransactionMetaData(b"", b"vote")

    error = fails(ConflictError, None, commit, storage, txn(),
                  common.store(oid, first, THREE))
    expected = ConflictError(oid=oid, serials=(second, first), data=THREE)
    common.equal(str(error), str(expected), "conflict")
    check = "checkCurrentSerialInTransaction"
    error = fails(ReadConflictError, None, commit, storage, txn(),
                  (check, oid, first))
    expected = ReadConflictError(oid=oid, serials=(second, first))
    common.equal(str(error), str(expected), "read conflict")
    for name in check, "deleteObject":
        fails(POSKeyError, (UNKNOWN,), commit, storage, txn(),
              (name, UNKNOWN, first))
    # The first of several errors counts, and what was good before is gone.
    new = storage.new_oid()
    fails(ReadConflictError, None, commit, storage, txn(),
          common.store(new, z64, ONE), (check, oid, first),
          common.store(oid, first, THREE))
    fails(POSKeyError, (new,), storage._call, "getTid", new)
    common.equal(storage._call("lastTransaction"), before, "last transaction")
    # A check that holds, and nothing else.
    tid = commit(storage, txn(), (check, oid, second))
    common.equal(storage._call("lastTransaction"), tid, "last transaction")


def main():
    args = common.arguments(__doc__, "file")
    with common.storage_of(args, client_label="methods") as storage:
        call = storage._call
        common.equal(call("lastTransaction"), z64, "an empty storage's last")
        check_new_oids(call)
        oid = storage.new_oid()
        first = common.commit(storage, TransactionMetaData(b"first"),
                              common.store(oid, z64, ONE))
        second = common.commit(storage, TransactionMetaData(b"second"),
                               common.store(oid, first, TWO))
        check_reading(call, oid, first, second)
        check_votes(storage, oid, first, second)
        check_order(call, oid)
        check_session(args, call, args.file)
        check_status(args, call, 1)
        with common.storage_of(args):
            check_status(args, call, 2)
        common.eventually(lambda: call("server_status")["connections"] == 1,
                          "the end of the other connection")
    common.succeed()


if __name__ == "__main__":
    main()
