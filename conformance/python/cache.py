"""Python's ClientCache, told what to do: one JSON list a line, an answer for each.

["open", PATH, SIZE]  ["store", OID, START, END or null, DATA]  ["invalidate", OID, TID or null]
["last", TID]  ["load", OID, BEFORE]  ["close"]; numbers for ids, text for data. ["end"] ends it.
"""
import json
import sys

from ZEO.cache import ClientCache
from ZODB.utils import p64, u64


def tid(number):
    return None if number is None else p64(number)


def main():
    cache = None
    print(json.dumps({"step": "ready"}), flush=True)
    for line in sys.stdin:
        what, *args = json.loads(line)
        if what == "end":
            break
        said = {}
        if what == "open":
            cache = ClientCache(args[0], args[1])
            said["len"] = len(cache)
            said["last"] = u64(cache.getLastTid())
        elif what == "store":
            oid, start, end, data = args
            cache.store(p64(oid), p64(start), tid(end), data.encode())
        elif what == "invalidate":
            cache.invalidate(p64(args[0]), tid(args[1]))
        elif what == "last":
            cache.setLastTid(p64(args[0]))
        elif what == "load":
            found = cache.loadBefore(p64(args[0]), p64(args[1]))
            if found is not None:
                data, start, end = found
                found = [data.decode(), u64(start), None if end is None else u64(end)]
            said["found"] = found
        elif what == "close":
            cache.close()
            cache = None
        print(json.dumps(dict(said, step=what)), flush=True)
    print(json.dumps({"result": True}), flush=True)


main()
