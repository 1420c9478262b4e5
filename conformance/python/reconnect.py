"""A client with a cache file outlives restarts of the server.

The test stops the server, lets somebody else commit, and starts it again
on the same port; first with fewer commits than the server's invalidation
queue holds, then with more.
"""
import common
from persistent_classes import Plain

KEPT = 20


def reload_all(storage, oids):
    """Load objects; returns how many of them the server was asked for."""
    before = storage._call("server_status")["loads"]
    for oid in oids:
        storage.load(oid)
    return storage._call("server_status")["loads"] - before


def await_restart(storage, manager, root, verification):
    """Go through one restart, and see what the others have done meanwhile."""
    value = root["value"].value
    common.step("connected")
    common.eventually(lambda: not storage.is_connected(), "disconnection")
    common.step("disconnected", value=value)
    common.eventually(storage.is_connected, "reconnection", 30)
    common.equal(storage._server.client.verify_result, verification,
                 "cache verification")
    manager.begin()
    if not root["value"].value > value:
        raise AssertionError("commits during the absence are not seen")


def main():
    args = common.arguments(__doc__, "cache")
    with common.database(args, cache=args.cache, wait_timeout=30) \
            as (db, storage), common.connection(db) as (manager, root):
        root["value"] = Plain(0)
        root["kept"] = [Plain(number) for number in range(KEPT)]
        manager.commit()
        oids = [kept._p_oid for kept in root["kept"]]
        common.equal(reload_all(storage, oids), 0, "loads of what was stored")

        await_restart(storage, manager, root, "quick verification")
        common.equal(reload_all(storage, oids), 0, "loads after verification")
        root["value"].value += 1
        manager.commit()

        await_restart(storage, manager, root, "cache too old, clearing")
        common.equal(reload_all(storage, oids), KEPT, "loads after dropping")
        common.equal([kept.value for kept in root["kept"]], list(range(KEPT)),
                     "objects that nobody changed")
        root["value"].value += 1
        manager.commit()
        value = root["value"].value

    # The cache file serves the next client, too.
    with common.database(args, cache=args.cache) as (db, storage), \
            common.connection(db) as (_, root):
        common.equal(storage._server.client.verify_result, "Cache up to date",
                     "verification of the file")
        common.equal(root["value"].value, value, "value")
        common.equal(reload_all(storage, oids), 0, "loads with the old file")
    common.succeed(value=value)


if __name__ == "__main__":
    main()
