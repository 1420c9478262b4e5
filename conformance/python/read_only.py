"""Read-only servers, read-only clients, and clients that would rather write."""
import common
from persistent_classes import Plain
from ZODB.POSException import ReadOnlyError


def check_refusals(storage):
    """The client thinks that it may not write, and so does the server."""
    common.equal(storage.isReadOnly(), True, "is read-only")
    with common.raises(ReadOnlyError, "new_oid"):
        storage.new_oid()
    for name, *arguments in (["new_oids"], ["vote", 1], ["tpc_finish", 1],
                             ["tpc_abort", 1]):
        with common.raises(ReadOnlyError, name):
            storage._call(name, *arguments)


def check_reading(args, **options):
    """Everything can be read."""
    with common.database(args, **options) as (db, storage), \
            common.connection(db) as (manager, root):
        common.equal(root["value"].value, 42, "value")
        check_refusals(storage)
        root["value"].value = 43
        with common.raises(ReadOnlyError, "commit"):
            manager.commit()


def main():
    args = common.arguments(__doc__, "server")
    if args.server == "writable":
        with common.database(args, read_only_fallback=True) as (db, storage), \
                common.connection(db) as (manager, root):
            common.equal(bool(storage.isReadOnly()), False, "is read-only")
            root["value"] = Plain(42)
            manager.commit()
        check_reading(args, read_only=True)
    else:
        check_reading(args, read_only=True)
        check_reading(args, read_only_fallback=True)
        # A client that insists on writing gets an error, and only logs it.
        with common.LogCatcher() as log:
            storage = common.ClientStorage(args.address, wait=False)
            error = common.eventually(lambda: log.errors, "an error")[0]
            storage.close()
        common.equal(type(error), ReadOnlyError, "error of a writer")
    common.succeed()


if __name__ == "__main__":
    main()
