"""The random sequence: what is done to a storage next, in symbols that mean the same on both sides."""
import io

import zodbpickle.pickle
from BTrees.IIBTree import IIBucket
from differential_sides import At, UndoId, Upload
from persistent_classes import Counter, Plain, Stubborn
from ZODB.blob import Blob
from ZODB.utils import maxtid, p64, u64, z64
from zodbpickle import binary

OBJECTS = 14
BLOBS = range(100, 104)
# How objects are merged depends on their class, which the oid decides.
CLASSES = Plain, Counter, IIBucket, Plain, Stubborn
# Classes whose states can be merged, by who has the class.
MERGEABLE = Counter, IIBucket
USERS = b"", b"somebody", "/folder \N{SNOWMAN}".encode(), b"\xff no utf-8", b"u" * 5000
DESCRIPTIONS = b"", b"a step", "\N{SNOWMAN}\n\N{BOMB}".encode(), b"d" * 60000
EXTENSIONS = ({}, {}, {}, {"request": "/a/b"}, {"time": "late", "k": (1, None)}, {"id": b"mine", "f": 1.5},
              {"user_name": "me", "description": b"mine", "size": 3, "tid": None, "big": 2**62},
              {"list": [1, [2, {"x": "\N{SNOWMAN}"}]], "flag": True, "bytes": b"\0\xff"})
FILTERS = (None, {}, {"user_name": b"somebody"}, {"user_name": "somebody"}, {"description": b"a step"},
           {"request": "/a/b"}, {"request": None}, {"k": (1, None)}, {"f": 1.5, "user_name": b""}, {"nothing": 1})
NEVER = p64(2**40)


def class_of(oid):
    """The class of the object with this oid (a number)."""
    return Blob if oid in BLOBS else CLASSES[oid % len(CLASSES)]


class Reference:
    def __init__(self, oid):
        self.oid = oid


def record(oid, value, references):
    """A database record; one that holds `value`, and refers to these objects if its class can."""
    out = io.BytesIO()
    pickler = zodbpickle.pickle.Pickler(out, 3)
    pickler.persistent_id = lambda state: (
        (binary(p64(state.oid)), None) if isinstance(state, Reference) else None)
    kind = class_of(oid)
    if kind is IIBucket:
        # Different values have keys of their own, and others in common.
        state = IIBucket({key: value for key in (value % 5, value % 7 + 10, 99)}).__getstate__()
    elif kind is Blob:
        state = None
    else:
        state = {"value": value, "refs": [Reference(number) for number in references]}
    pickler.dump(kind)
    pickler.dump(state)
    return out.getvalue()


class Story:
    """What has been committed, as far as the next steps depend on it."""

    def __init__(self, rng, count, with_blobs, with_tids):
        # `count`: commits that are there already; `with_tids`: a transaction may bring its tid.
        self.rng, self.count, self.with_blobs, self.with_tids = rng, count, with_blobs, with_tids
        # The first commit that is ours.
        self.first = count
        # The commits that concerned an object.
        self.revisions = {}
        # What an iteration gave last.
        self.records = ()

    def committed(self, oids):
        """The next commit concerned these objects."""
        for oid in oids:
            self.revisions.setdefault(oid, []).append(self.count)
        self.count += 1

    def oid(self):
        """The number of an object, mostly not a blob."""
        if self.with_blobs and self.rng.random() < 0.25:
            return self.rng.choice(BLOBS)
        return self.rng.randrange(OBJECTS)

    def commit(self):
        """A commit, mostly one of the last."""
        return max(0, self.count - 1 - int(self.rng.expovariate(0.3)))

    def serial(self, oid):
        """The serial that somebody has read: mostly the current one."""
        dice = self.rng.random()
        known = self.revisions.get(oid)
        if not known:
            return z64 if dice < 0.9 else NEVER
        if dice < 0.85:
            return At(known[-1])
        if dice < 0.97:
            return At(self.rng.choice(known))
        return z64 if dice < 0.985 else NEVER

    def metadata(self):
        user = self.rng.choice(USERS)
        if self.rng.random() < 0.7:
            user = b"user %d" % self.rng.randrange(3)
        return user, self.rng.choice(DESCRIPTIONS), self.rng.choice(EXTENSIONS)

    def begin(self):
        """Further arguments of tpc_begin: a tid, and the status."""
        # Far enough away for the times to differ.
        if self.with_tids and self.count and self.rng.random() < 0.2:
            return At(self.count - 1, self.rng.randrange(2**6, 2**12)), self.rng.choice("   p")
        return ()

    def operations(self, begin):
        """What is done in a transaction; each is (method, arguments), and the object that it changes."""
        operations, stored = [], set()
        for operation in self.drafts(begin):
            (method, _), oid = operation
            # No client stores an object twice, but for blobs, or stores and deletes it: its own cache would be wrong.
            if method in ("store", "storeBlob", "deleteObject"):
                if oid in stored:
                    continue
                stored.add(oid)
            operations.append(operation)
        return operations

    def drafts(self, begin):
        """The same, as the dice fall."""
        dice = self.rng.random()
        if dice < 0.05:
            return []
        if dice < 0.55:
            return [self.store() for _ in range(self.rng.randrange(1, 4))]
        if dice < 0.65:
            return [self.delete() for _ in range(self.rng.randrange(1, 3))]
        if dice < 0.80:
            return [self.undo() for _ in range(self.rng.choice((1, 1, 1, 2, 3)))]
        if dice < 0.88 and begin:
            return [self.restore(begin[0]) for _ in range(self.rng.randrange(1, 3))]
        choices = self.store, self.store, self.delete, self.undo, self.check, self.check
        return [self.rng.choice(choices)() for _ in range(self.rng.randrange(1, 6))]

    def store(self):
        oid = self.oid()
        serial = self.serial(oid)
        others = [self.oid() for _ in range(self.rng.randrange(4))]
        # Few values, so that undo meets equal data.
        data = record(oid, self.rng.randrange(4), others)
        if oid not in BLOBS:
            return ("store", (p64(oid), serial, data, "")), oid
        content = b"%d" % self.rng.randrange(10) * self.rng.choice((0, 1, 70_000))
        return ("storeBlob", (p64(oid), serial, data, Upload(content), "")), oid

    def delete(self):
        oid = self.oid()
        return ("deleteObject", (p64(oid), self.serial(oid))), oid

    def check(self):
        oid = self.oid()
        return ("checkCurrentSerialInTransaction", (p64(oid), self.serial(oid))), None

    def undo(self):
        if not self.count or self.rng.random() < 0.05:
            return ("undo", (self.rng.choice((b"AAAAAAAAAAA=", b"no id", b"", b"AAAAAAAAAABB")),)), None
        number = self.commit()
        # Python does not find a first transaction that is nearly empty (`_txn_find`: nothing ends before byte 40).
        return ("undo", (UndoId(number) if number != self.first else b"AAAAAAAAAAA=",)), None

    def restore(self, tid):
        """As somebody would who copies: a record that there has been, and where its data can be found; or a new one."""
        if not self.records or self.rng.random() < 0.3:
            oid = self.rng.randrange(OBJECTS)
            return ("restore", (p64(oid), tid, record(oid, self.rng.randrange(4), ()), "", None)), oid
        oid, serial, data, origin = self.rng.choice(self.records)
        if data is not None and origin is None:
            origin = self.rng.choice((None, serial))
        return ("restore", (oid, tid, data, "", origin)), u64(oid)

    def question(self):
        """A question: (method, arguments) below the client's checks and cache."""
        oid = NEVER if self.rng.random() < 0.05 else p64(self.oid())
        tid = self.rng.choice((z64, maxtid, NEVER))
        if self.count and self.rng.random() < 0.9:
            tid = At(self.commit(), self.rng.choice((0, 0, 1, -1)))
        bounds = self.rng.choice(((0, -20), (0, 10), (0, 1000), (3, 7), (3, -7), (5, 2), (0, 0), (-3, 2), (1, -1)))
        return self.rng.choice((
            ("getTid", (oid,)),
            ("loadBefore", (oid, tid)),
            ("loadBefore", (oid, maxtid)),
            ("loadSerial", (oid, tid)),
            # A demo storage on Python's server mixes up other sizes; nobody asks with them.
            ("history", (oid, self.rng.choice((1, 2, 3, 20)))),
            ("history", (oid,)),
            ("record_iternext", (self.rng.choice((None, oid)),)),
            ("undoLog", bounds),
            ("undoInfo", (*bounds, self.rng.choice(FILTERS))),
            ("lastTransaction", ()),
            ("get_info", ()),
            ("ping", ()),
            ("iterator_next", (10**6,)),
            ("iterator_record_next", (10**6,)),
            ("iterator_record_start", (10**6, tid)),
            ("tpc_finish", (1,)),
            ("tpc_abort", (1,)),
            ("vote", (1,)),
            ("storea", (oid, tid, b"x", 1)),
            ("deleteObject", (oid, tid, 1)),
            ("new_oid", ()),
        ))
