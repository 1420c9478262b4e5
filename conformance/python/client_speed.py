"""Python's client, told what to do and timed: HOST PORT LENGTH.

One JSON list a line, [WHAT, OBJECTS, COUNT], an answer for each: "cold", "batch", "warm", "commit".
Each is done by a new client with an empty cache. ["end"] ends it.
"""
import json
import sys
import time

from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.utils import maxtid, p64

# One of so many objects is looked at.
CHECK_INTERVAL = 509


def load(storage, oids, length):
    for number, oid in enumerate(oids):
        data, _, _ = storage.loadBefore(oid, maxtid)
        if number % CHECK_INTERVAL == 0:
            assert len(data) == length and data[:8] == oid


def batch(storage, oids, length):
    storage.prefetch(oids, maxtid)
    load(storage, oids, length)


def commit(storage, objects, count):
    for _ in range(count):
        txn = TransactionMetaData()
        storage.tpc_begin(txn)
        for oid, (data, serial) in objects.items():
            storage.store(oid, serial, data, "", txn)
        storage.tpc_vote(txn)
        tid = storage.tpc_finish(txn)
        for oid, (data, _) in objects.items():
            objects[oid] = data, tid


def timed(function, *args):
    cpu, began = time.process_time(), time.perf_counter()
    function(*args)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "cpu": time.process_time() - cpu}


def turn(address, length, what, oids, count):
    oids = [p64(oid) for oid in oids]
    storage = ClientStorage(address, wait_timeout=15)
    try:
        if what == "commit":
            objects = {oid: storage.loadBefore(oid, maxtid)[:2] for oid in oids}
            return timed(commit, storage, objects, count)
        if what == "warm":
            load(storage, oids, length)
        return timed(batch if what == "batch" else load, storage, oids, length)
    finally:
        storage.close()


def main():
    host, port, length = sys.argv[1:]
    print(json.dumps({"step": "ready"}), flush=True)
    for line in sys.stdin:
        what, *args = json.loads(line)
        if what == "end":
            break
        said = turn((host, int(port)), int(length), what, *args)
        print(json.dumps(dict(said, step=what)), flush=True)
    print(json.dumps({"result": True}), flush=True)


main()
