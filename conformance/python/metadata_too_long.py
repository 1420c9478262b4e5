"""User, description and extension that do not fit into their fields."""
import common
from ZEO.Exceptions import ServerException
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

LONGEST = 65535
DATA = common.record(1)
CLASS = "ZODB.FileStorage.FileStorage.FileStorageError"

TOO_LONG = (
    (TransactionMetaData(b"u" * (LONGEST + 1)), "user name too long"),
    (TransactionMetaData(b"", b"d" * (LONGEST + 1)), "description too long"),
    (TransactionMetaData(b"", b"", {"x": "e" * (LONGEST + 1)}),
     "too much extension data"),
)


def main():
    args = common.arguments(__doc__)
    with common.storage_of(args) as storage, common.storage_of(args) as other:
        oid = storage.new_oid()
        serial = z64
        for txn, text in TOO_LONG:
            before = storage._call("lastTransaction")
            storage.tpc_begin(txn)
            storage.store(oid, serial, DATA, "", txn)
            with common.raises(ServerException, text) as caught:
                storage.tpc_vote(txn)
            common.equal(caught[0].args, (CLASS, (text,)), "error")
            # The lock is free, before this client says anything more.
            common.commit(other, TransactionMetaData(b"other"),
                          common.store(other.new_oid(), z64, DATA))
            storage.tpc_abort(txn)
            if not storage._call("lastTransaction") > before:
                raise AssertionError("the other's commit is not the last")
            # The connection is as good as before.
            txn = TransactionMetaData(b"u" * LONGEST, b"d" * LONGEST, {"x": 1})
            serial = common.commit(storage, txn, common.store(oid, serial, DATA))
            common.equal(storage._call("getTid", oid), serial, "serial")
    common.succeed()


if __name__ == "__main__":
    main()
