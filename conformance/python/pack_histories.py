"""Random histories, and what Python's pack makes of each.

    pack_histories.py --out DIRECTORY --count N [--seed S]

Each case is a folder with `Data.fs`, a copy `expected.fs` packed by Python, and `case.json`: the pack time (seconds), gc,
and whether Python's pack had to be mended (see below) to get there. The history is made with low-level calls, with fixed
tids and real pickles: new objects, changed references, undo, redo, deletions, records stored twice in a transaction as
ZEO's clients store blobs, and packs in between.

Where Python's pack succeeds, and leaves something else than it would without its weaknesses (`mended_pack.py`), the case
says so.
"""
import argparse
import io
import json
import logging
import os
import random

import zodbpickle.pickle
from mended_pack import packed
from persistent.TimeStamp import TimeStamp
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, MultipleUndoErrors, POSKeyError, UndoError
from ZODB.serialize import referencesf
from ZODB.utils import p64, u64, z64
from zodbpickle import binary


class Reference:
    def __init__(self, oid):
        self.oid = oid


def persistent_id(obj):
    return (binary(obj.oid), None) if isinstance(obj, Reference) else None


def record(state):
    out = io.BytesIO()
    pickler = zodbpickle.pickle.Pickler(out, 3)
    pickler.persistent_id = persistent_id
    pickler.dump((("module", "name"), None))
    pickler.dump(state)
    return out.getvalue()


def tid(n):
    return TimeStamp(2026, 11, 20, 10 + n // 60, n % 60, 1.5 + n / 7.0 % 50).raw()


class History:
    def __init__(self, folder, rng):
        self.rng = rng
        self.path = os.path.join(folder, "Data.fs")
        self.storage = FileStorage(self.path)
        self.count = 0

    def commit(self, work):
        self.count += 1
        meta = TransactionMetaData("user %d" % self.count, "d" * self.rng.randrange(5), {"n": self.count} if self.count % 3 else {})
        self.storage.tpc_begin(meta, tid(self.count))
        try:
            if work(meta) is False:
                raise UndoError("nothing")
            self.storage.tpc_vote(meta)
        except (ConflictError, UndoError, MultipleUndoErrors, POSKeyError):
            self.storage.tpc_abort(meta)
            return
        self.storage.tpc_finish(meta)

    def live(self):
        """All objects that exist, with what they refer to."""
        found = {}
        for oid in list(self.storage._index.keys()):
            try:
                found[oid] = referencesf(self.storage.load(oid)[0])
            except POSKeyError:
                pass
        return found

    def store(self, meta, oid, refs, size):
        state = {"refs": [Reference(ref) for ref in refs], "data": "x" * size, "n": self.count}
        try:
            serial = self.storage.getTid(oid)
        except POSKeyError:
            serial = z64
        data = record(state)
        for _ in range(2 if self.rng.random() < 0.08 else 1):
            self.storage.store(oid, serial, data, "", meta)

    def change(self, meta):
        self.stored = set()
        live = self.live()
        if z64 not in live:
            return self.store(meta, z64, [], 3)
        oids = list(live)
        for _ in range(self.rng.randrange(1, 4)):
            oid = self.rng.choice(oids)
            if oid in self.stored:
                continue
            self.stored.add(oid)
            refs = [ref for ref in live[oid] if ref in live and self.rng.random() < 0.7]
            if self.rng.random() < 0.6:
                new = p64(self.rng.choice([u64(max(self.storage._index.keys())) + 1, self.rng.randrange(1, 2**40)]))
                if new not in live:
                    self.store(meta, new, self.rng.sample(oids, min(len(oids), self.rng.randrange(3))), self.rng.randrange(40))
                    refs.append(new)
            elif self.rng.random() < 0.5:
                refs.append(self.rng.choice(oids))
            self.store(meta, oid, refs, self.rng.choice([0, 5, 300]))
            live[oid] = refs

    def undo(self, meta):
        log = self.storage.undoLog(0, 10)
        if not log:
            return False
        self.storage.undo(self.rng.choice(log)["id"], meta)

    def delete(self, meta):
        live = self.live()
        used = {z64}
        for refs in live.values():
            used.update(refs)
        gone = [oid for oid in live if oid not in used]
        if not gone:
            return False
        for oid in self.rng.sample(gone, 1):
            self.storage.deleteObject(oid, self.storage.getTid(oid), meta)

    def run(self, length):
        for _ in range(length):
            kind = self.rng.random()
            if kind < 0.6:
                self.commit(self.change)
            elif kind < 0.85:
                self.commit(self.undo)
            elif kind < 0.96:
                self.commit(self.delete)
            elif self.count > 3:
                try:
                    self.storage.pack(TimeStamp(tid(self.count - 2)).timeTime(), referencesf)
                except Exception:
                    pass
        self.storage.close()


def make(folder, rng):
    os.makedirs(folder)
    history = History(folder, rng)
    history.run(rng.randrange(2, 40))
    for suffix in (".index", ".lock", ".tmp", ".old", ".pack"):
        if os.path.exists(history.path + suffix):
            os.remove(history.path + suffix)
    n = rng.randrange(history.count + 2)
    time = TimeStamp(tid(n)).timeTime() + rng.choice([0, -1, 1, 0.0001])
    gc = rng.random() < 0.8
    expected = packed(history.path, os.path.join(folder, "expected.fs"), time, gc, True)
    try:
        plain = packed(history.path, os.path.join(folder, "plain.fs"), time, gc, False)
        how = "plain" if plain == expected else "differs"
    except Exception as error:
        how = "fails: %s" % type(error).__name__
    for name in ("plain.fs",):
        if os.path.exists(os.path.join(folder, name)):
            os.remove(os.path.join(folder, name))
    with open(os.path.join(folder, "case.json"), "w") as f:
        json.dump({"time": time, "gc": gc, "python": how}, f)
    with open(history.path, "rb") as f:
        is_same = f.read() == expected
    return how, is_same


def main():
    # Conflict resolution complains that there is no such class.
    logging.disable(logging.CRITICAL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    said = {"changed": 0}
    for number in range(args.count):
        rng = random.Random("%d %d" % (args.seed, number))
        how, is_same = make(os.path.join(args.out, "case-%04d" % number), rng)
        said[how] = said.get(how, 0) + 1
        said["changed"] += not is_same
    print(json.dumps(said))


main()
