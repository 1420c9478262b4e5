"""Pack again and again, with the client and with zeopack, while other processes write and read."""
import contextlib
import random
import time

import common
from BTrees.OOBTree import OOBTree
from persistent.mapping import PersistentMapping
from ZEO.scripts import zeopack
from ZODB.POSException import ConflictError, POSKeyError, ReadConflictError

WRITERS = 2
OBJECTS = 200
PACKS = 3


def write(args, number, pipe):
    """Count up in an object of one's own, and leave garbage behind."""
    count = 0
    with common.database(args) as (db, _), common.connection(db) as (manager, root):
        pipe.send("ready")
        mine = root["writer %d" % number]
        while not pipe.poll():
            try:
                mine["count"] += 1
                mine["dropped"] = PersistentMapping(data="x" * 1000)
                root["tree"][random.randrange(OBJECTS)]["data"] = "y" * random.randrange(2000)
                manager.commit()
            except ConflictError:
                manager.abort()
                continue
            count += 1
        common.equal(mine["count"], count, "commits of writer %d" % number)
    pipe.send(count)


def read(args, pipe):
    """Read everything from the server, never an error but that of a snapshot that a pack has overtaken."""
    count = 0
    with common.database(args, cache_size=0) as (db, storage):
        pipe.send("ready")
        seen = {}
        while not pipe.poll():
            with common.connection(db) as (_, root), contextlib.suppress(ReadConflictError):
                for key, one in root["tree"].items():
                    common.equal(one["number"], key, "number")
                    count += 1
                for number in range(WRITERS):
                    value = root["writer %d" % number]["count"]
                    assert value >= seen.get(number, 0), "a count went back"
                    seen[number] = value
            db.cacheMinimize()
            storage._cache.clear()
    pipe.send(count)


def populate(args):
    with common.database(args) as (db, storage), common.connection(db) as (manager, root):
        root["tree"] = OOBTree()
        for number in range(WRITERS):
            root["writer %d" % number] = PersistentMapping(count=0)
        for number in range(OBJECTS):
            root["tree"][number] = PersistentMapping(number=number, data="")
        root["garbage"] = PersistentMapping(data="z" * 100000)
        manager.commit()
        garbage = root["garbage"]._p_oid
        del root["garbage"]
        for number in range(5):
            root["tree"][number]["data"] = "revised"
            manager.commit()
        return garbage


def main():
    args = common.arguments(__doc__)
    # Forked before any storage is open.
    processes = [common.start_process(populate_and_send, args)]
    garbage = common.receive(processes[0][1], "populated")
    common.join(processes[0][0])
    workers = [common.start_process(write, args, number) for number in range(WRITERS)]
    workers.append(common.start_process(read, args))
    for _, pipe in workers:
        common.equal(common.receive(pipe, "ready"), "ready", "worker")

    sizes = []
    with common.storage_of(args, read_only=True) as watcher, common.storage_of(args) as storage:
        storage.load(garbage)
        for number in range(PACKS):
            # Something to free.
            before = storage.lastTransaction()
            common.eventually(lambda: storage.lastTransaction() > before, "commits go on")
            time_of_pack = time.time()
            if number == 1:
                zeopack._main(["%s:%d" % args.address])
            else:
                storage.pack(time_of_pack, wait=True)
                sizes.append(storage.getSize())
            before = storage.lastTransaction()
            common.eventually(lambda: storage.lastTransaction() > before, "commits go on")
        # Told without asking.
        common.eventually(lambda: watcher.getSize() > 0, "info")
        storage.pack(0, wait=False)
        total = 0
        for process, pipe in workers:
            pipe.send("stop")
            total += common.receive(pipe, "stopped")
            common.join(process)
    with common.storage_of(args) as storage:
        with common.raises(POSKeyError, "garbage is gone"):
            storage.load(garbage)
        storage.pack(time.time(), wait=True)
        small = storage.getSize()
        assert small < 1_000_000, small
    common.succeed(count=total, sizes=sizes)


def populate_and_send(args, pipe):
    pipe.send(populate(args))


if __name__ == "__main__":
    main()
