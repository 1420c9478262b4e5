"""An object that was only read, but must not have changed, has changed."""
import common
from persistent_classes import Plain
from ZODB.POSException import ReadConflictError


def main():
    args = common.arguments(__doc__)
    with common.database(args) as (db1, storage), \
            common.connection(db1) as (manager1, root1):
        root1["read"] = Plain(0)
        root1["written"] = Plain(0)
        manager1.commit()
        with common.database(args) as (db2, _), \
                common.connection(db2) as (manager2, root2):
            manager2.begin()
            root2["written"].value = 1
            # Of an object that is not loaded, readCurrent takes no notice.
            common.equal(root2["read"].value, 0, "value")
            root2._p_jar.readCurrent(root2["read"])
            read = root2["read"]._p_serial
            root1["read"].value = 1
            manager1.commit()
            with common.raises(ReadConflictError, "stale read") as caught:
                manager2.commit()
            manager2.abort()
            error, = caught
            oid, committed = root1["read"]._p_oid, root1["read"]._p_serial
            expected = ReadConflictError(oid=oid, serials=(committed, read))
            common.equal(error.oid, oid, "oid")
            common.equal(error.serials, (committed, read), "serials")
            common.equal(str(error), str(expected), "text of the error")
            manager1.begin()
            common.equal(root1["written"].value, 0, "the other object")

            # With the revision that is current it is no conflict.
            common.eventually(lambda: (manager2.begin(), root2["read"].value)[1]
                              == 1, "the committed value")
            root2._p_jar.readCurrent(root2["read"])
            root2["written"].value = 2
            manager2.commit()
            common.eventually(
                lambda: (manager1.begin(), root1["written"].value)[1] == 2,
                "the second attempt")
            common.equal(root1["read"]._p_serial, committed, "only read")
            common.equal(storage.load(oid)[1], committed, "serial on the server")
    common.succeed()


if __name__ == "__main__":
    main()
