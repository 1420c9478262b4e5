"""Python's ClientCache, told what to do and timed: one JSON list a line, an answer for each.

["open", PATH, SIZE]  ["fill", FIRST, BEHIND, LENGTH]  ["hits", FIRST, BEHIND, LENGTH, COUNT]
["close"]; objects are numbers, BEHIND is the first that does not belong to them. ["end"] ends it.
"""
import json
import os
import random
import sys
import time

from ZEO.cache import ClientCache
from ZODB.utils import maxtid, p64

# One of so many hits is compared.
CHECK_INTERVAL = 509
SERIAL = p64(1)


def data_of(oid, length):
    return oid * (length // 8)


def fill(cache, first, behind, length):
    began = time.perf_counter()
    for number in range(first, behind):
        oid = p64(number)
        cache.store(oid, SERIAL, None, data_of(oid, length))
    return {"seconds": time.perf_counter() - began, "count": len(cache)}


def hits(cache, first, behind, length, count):
    oids = [p64(random.randrange(first, behind)) for _ in range(count)]
    load = cache.loadBefore
    hit_count = 0
    cpu = time.process_time()
    began = time.perf_counter()
    for number, oid in enumerate(oids):
        found = load(oid, maxtid)
        if found is not None:
            hit_count += 1
            if number % CHECK_INTERVAL == 0:
                assert found == (data_of(oid, length), SERIAL, None)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "cpu": time.process_time() - cpu, "hits": hit_count}


def main():
    cache = path = None
    print(json.dumps({"step": "ready"}), flush=True)
    for line in sys.stdin:
        what, *args = json.loads(line)
        said = {}
        if what == "end":
            break
        if what == "open":
            path, size = args
            cache = ClientCache(path, size)
        elif what == "fill":
            said = fill(cache, *args)
            # What is to be written is not written meanwhile.
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        elif what == "hits":
            said = hits(cache, *args)
        elif what == "close":
            cache.close()
            cache = None
        print(json.dumps(dict(said, step=what)), flush=True)
    print(json.dumps({"result": True}), flush=True)


main()
