"""Deleting objects at the storage's interface."""
import common
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError, POSKeyError
from ZODB.utils import maxtid, z64

DATA = common.record(1)
CHANGED = common.record(2)


def main():
    args = common.arguments(__doc__)
    with common.storage_of(args) as storage, common.storage_of(args) as other:
        received = []
        other.invalidateTransaction = \
            lambda tid, oids: received.append((tid, list(oids)))
        oid, neighbour = storage.new_oid(), storage.new_oid()
        first = common.commit(
            storage, TransactionMetaData(b"create"),
            common.store(oid, z64, DATA), common.store(neighbour, z64, DATA))
        second = common.commit(storage, TransactionMetaData(b"change"),
                               common.store(oid, first, CHANGED))
        common.eventually(lambda: len(received) == 2, "two invalidations")
        common.equal(other.load(oid), (CHANGED, second), "in the other's cache")

        # Of a revision that is not current any more it is a conflict.
        with common.raises(ConflictError, "stale deletion") as caught:
            common.commit(storage, TransactionMetaData(b"stale"),
                          ("deleteObject", oid, first))
        expected = ConflictError(oid=oid, serials=(second, first))
        common.equal(str(caught[0]), str(expected), "text of the conflict")

        # Something else, in one transaction with a store.
        deleted = common.commit(
            storage, TransactionMetaData(b"delete"),
            ("deleteObject", oid, second), common.store(neighbour, first, CHANGED))
        for client in storage, other:
            with common.raises(POSKeyError, "load of a deleted object") as caught:
                client._call("loadBefore", oid, maxtid)
            common.equal(caught[0].args, (oid,), "oid")
            common.equal(client._call("loadBefore", oid, deleted),
                         (CHANGED, second, deleted), "revision before")
            common.equal(client._call("loadBefore", oid, second),
                         (DATA, first, second), "first revision")
            common.equal(client._call("loadBefore", oid, first), None,
                         "before its creation")
            with common.raises(POSKeyError, "serial of a deleted object"):
                client._call("loadSerial", oid, deleted)
        common.eventually(lambda: len(received) == 3, "three invalidations")
        tid, oids = received[-1]
        common.equal(tid, deleted, "tid of the invalidation")
        if args.python_server:
            # ZEO 6.2 announces stores only; a weakness.
            common.equal(oids, [neighbour], "oids of the invalidation")
        else:
            common.equal(sorted(oids), sorted([oid, neighbour]),
                         "oids of the invalidation")
            with common.raises(POSKeyError, "load with the other's cache"):
                other.load(oid)
    common.succeed()


if __name__ == "__main__":
    main()
