"""Two servers under the same sequence of operations, and the form in which their answers are compared.

The tids of two servers differ, as their clocks do. Each commit has a number; in
what is asked it stands for the server's own tid, and in answers tids are
replaced by it, wherever they occur.
"""
import base64
import collections
import hashlib
import os
import re
import time

import common
from persistent.TimeStamp import TimeStamp
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected, ServerException
from ZODB.utils import p64, u64

# The tid of the commit with this number, or one a bit away from it.
At = collections.namedtuple("At", "number offset", defaults=(0,))
# What undoLog calls that commit.
UndoId = collections.namedtuple("UndoId", "number")
# A file with this content, made anew for each side.
Upload = collections.namedtuple("Upload", "content")
# An exception, in a form that can be compared.
Raised = collections.namedtuple("Raised", "name detail")


class Own:
    """What each side has for itself, by its index."""

    def __init__(self, values):
        self.values = values

    def __repr__(self):
        return "OWN"


class Invalidations:
    """What a storage tells its database."""

    def __init__(self):
        self.told = []

    def invalidate(self, tid, oids):
        self.told.append((tid, frozenset(oids)))

    def invalidateCache(self):
        self.told.append("everything")

    def transform_record_data(self, data):
        return data

    untransform_record_data = transform_record_data


class Side:
    """One storage of one server, with clients, and the tids of its commits."""

    def __init__(self, index, address, files):
        self.index, self.address, self.files = index, address, files
        self.tids = []
        # From each form of a tid to the number of its commit.
        self.numbers = {}
        self.uploads = 0

    def connect(self, storage, count):
        """Clients of the storage of this name, the last one read-only."""
        self.clients, self.databases = [], []
        for number in range(count):
            base = os.path.join(self.files, "client-%s-%d" % (storage, number))
            client = ClientStorage(
                self.address, storage, wait_timeout=common.SOON_S, read_only=number == count - 1,
                cache=base + ".zec", blob_dir=base + ".blobs")
            database = Invalidations()
            client.registerDB(database)
            self.clients.append(client)
            self.databases.append(database)

    def close(self):
        for client in self.clients:
            client.close()

    def committed(self, tid):
        """There is a commit; it has the next number."""
        stamp = TimeStamp(tid).timeTime()
        at = At(len(self.tids))
        self.tids.append(tid)
        for form in tid, stamp, tid.hex(), base64.encodebytes(tid).rstrip(b"\n"):
            self.numbers[form] = at

    def resolve(self, value):
        """Symbols as this side means them."""
        if isinstance(value, At):
            tid = p64(u64(self.tids[value.number]) + value.offset)
            # Errors tell of what they were asked.
            self.numbers.setdefault(tid, value)
            return tid
        if isinstance(value, UndoId):
            return base64.encodebytes(self.tids[value.number]).rstrip(b"\n")
        if isinstance(value, Upload):
            self.uploads += 1
            path = os.path.join(self.files, "upload-%d" % self.uploads)
            with open(path, "wb") as file:
                file.write(value.content)
            return path
        if isinstance(value, Own):
            own = value.values[self.index]
            # The client calls a transaction by it.
            self.numbers[id(own)] = value
            return own
        if type(value) in (list, tuple):
            return type(value)(map(self.resolve, value))
        return value

    def plain(self, value):
        """An answer without what is this side's own."""
        if isinstance(value, (bytes, float, int, str)):
            found = self.numbers.get(value)
            if found is None and isinstance(value, str):
                value = value.replace(self.files, "FILES")
                return re.sub("[0-9a-f]{16}", lambda tid: str(self.numbers.get(tid[0], tid[0])), value)
            return value if found is None else found
        if isinstance(value, (list, tuple)):
            return tuple(map(self.plain, value))
        if isinstance(value, (set, frozenset)):
            return frozenset(map(self.plain, value))
        if isinstance(value, Exception):
            return self.raised(value)
        if isinstance(value, dict):
            return tuple((key, self.plain(item)) for key, item in value.items())
        return value

    def raised(self, error):
        """The exception; but a lost connection is the end."""
        if isinstance(error, ClientDisconnected):
            raise AssertionError("side %d hangs up" % self.index)
        name, detail = type(error).__name__, error.__dict__ or error.args
        if isinstance(error, ServerException):
            # The client does not know the class.
            name, detail = error.args
            name = name.rpartition(".")[2]
        if name == "MultipleUndoErrors":
            # msgpack has no exceptions within exceptions.
            detail = [(oid, why[1]["_reason"] if isinstance(why, tuple) else why._reason)
                      for oid, why in detail["_errs"]]
        return Raised(name, self.plain(detail))

    def call(self, client, method, *arguments):
        """What the client's method gives, or the exception that it raises; `_call` is below its checks and cache."""
        try:
            return getattr(self.clients[client], method)(*self.resolve(arguments))
        except Exception as error:
            return error

    def answer(self, client, method, *arguments):
        """The same, without what is this side's own."""
        return self.plain(self.call(client, method, *arguments))

    def heard(self, client):
        """What a client's database has been told since the last time."""
        # All that the server has sent before the answer is there after it.
        self.clients[client]._call("ping")
        told, self.databases[client].told = self.databases[client].told, []
        return self.plain(told)

    def transactions(self, start, stop):
        """All that an iteration says."""
        try:
            return self.plain([
                (txn.tid, txn.status, txn.user, txn.description, txn.extension,
                 [(record.oid, record.tid, record.data, record.data_txn) for record in txn])
                for txn in self.clients[0].iterator(self.resolve(start), self.resolve(stop))])
        except Exception as error:
            return self.raised(error)

    def current_records(self):
        """All records that `record_iternext` gives, and the exception that ends them."""
        found, oid = [], None
        while True:
            answer = self.answer(0, "record_iternext", oid)
            found.append(answer)
            if isinstance(answer, Raised) or answer[3] is None:
                return found
            oid = answer[3]

    def moment(self, number, between):
        """The time of a commit, or one between it and the next."""
        here = TimeStamp(self.tids[number]).timeTime()
        following = self.tids[number + 1:number + 2]
        after = TimeStamp(following[0]).timeTime() if following else here + 1e-3
        return here + (after - here) * between

    def commits_before(self, when):
        """Where a pack up to this time ends: after how many commits, and whether at one."""
        stop = TimeStamp(*time.gmtime(when)[:5] + (when % 60,)).raw()
        return sum(tid < stop for tid in self.tids), stop in self.numbers

    def bytes_of(self, name):
        """A file with each tid replaced by the number of its commit."""
        with open(os.path.join(self.files, name), "rb") as file:
            content = file.read()
        tids = re.compile(b"|".join(map(re.escape, self.tids)), re.DOTALL)
        return tids.sub(lambda found: b"tid%05d" % self.numbers[found[0]].number, content)

    def blobs_in(self, name):
        """What the files of a blob directory hold, with tids replaced in their names."""
        found = {}
        top = os.path.join(self.files, name)
        for path, _, names in os.walk(top):
            for name in names:
                with open(os.path.join(path, name), "rb") as file:
                    content = hashlib.sha1(file.read()).hexdigest()
                shown = re.sub("[0-9a-f]{16}(?=.blob$)", lambda tid: str(
                    self.numbers.get(tid[0], tid[0])), name)
                found[os.path.join(os.path.relpath(path, top), shown)] = content
        return found
