"""A client of any ZEO from 4.3.1 on, Python 2.7 or 3, that does what it is told.

It reads one JSON list a line, [what, arguments...], and answers each with one
line: {"ok": ...} or {"error": [class, text]}. Records are bytes that it is
told, since no two of these Pythons read each other's pickles.
"""
from __future__ import print_function

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time

import transaction
from ZEO.ClientStorage import ClientStorage
from ZODB.utils import p64, u64

try:
    from ZODB.Connection import TransactionMetaData
except ImportError:  # ZODB 4
    TransactionMetaData = transaction.Transaction

SOON_S = 15
signal.alarm(100)
logging.basicConfig(stream=sys.stderr, level=logging.INFO)


def hexed(data):
    return "".join("%02x" % byte for byte in bytearray(data))


def text(value):
    """What came from JSON, as this Python's ClientStorage wants it."""
    return str(value) if sys.version_info[0] == 2 and not isinstance(value, (int, bool, type(None))) else value


class Database(object):
    """What a storage tells of invalidations."""

    def __init__(self):
        self.told = {}
        self.dropped = 0
        self.changed = threading.Condition()

    def invalidate(self, tid, oids, version=""):
        with self.changed:
            for oid in oids:
                self.told[u64(oid)] = hexed(tid)
            self.changed.notify_all()

    def invalidateCache(self):
        with self.changed:
            self.dropped += 1
            self.changed.notify_all()

    def transform_record_data(self, data):
        return data

    untransform_record_data = transform_record_data
    references = None


class Client(object):
    def learn(self, module):
        """Imports a module, which may make itself known."""
        __import__(text(module))

    def open(self, host, port, options):
        options = dict((str(key), text(value)) for key, value in options.items())
        options.setdefault("wait_timeout", SOON_S)
        options.setdefault("wait", True)
        self.storage = ClientStorage((text(host), port), **options)
        self.database = Database()
        self.storage.registerDB(self.database)
        return self.storage.getName()

    def close(self):
        self.storage.close()

    def begin(self, user=""):
        self.transaction = TransactionMetaData()
        if user:
            self.transaction.user = text(user)
        self.storage.tpc_begin(self.transaction)

    def put(self, number, serial, data):
        self.storage.store(p64(number), bytes(bytearray.fromhex(serial)), data.encode("ascii"), "",
                           self.transaction)

    def put_blob(self, number, serial, content):
        fd, path = tempfile.mkstemp(dir=self.storage.temporaryDirectory())
        with os.fdopen(fd, "wb") as file:
            file.write(content.encode("ascii"))
        record = b"\x80\x02cZODB.blob\nBlob\nq\x01.\x80\x02N."
        self.storage.storeBlob(p64(number), bytes(bytearray.fromhex(serial)), record, path, "", self.transaction)

    def blob(self, number, serial):
        with open(self.storage.loadBlob(p64(number), bytes(bytearray.fromhex(serial))), "rb") as file:
            return file.read().decode("ascii")

    def check(self, number, serial):
        self.storage.checkCurrentSerialInTransaction(
            p64(number), bytes(bytearray.fromhex(serial)), self.transaction)

    def end(self):
        try:
            self.storage.tpc_vote(self.transaction)
            self.storage.tpc_finish(self.transaction)
        except Exception:
            self.storage.tpc_abort(self.transaction)
            raise
        return hexed(self.storage.lastTransaction())

    def undo(self, place):
        entry = self.storage.undoLog(0, -20)[place]
        self.begin()
        self.storage.undo(entry["id"], self.transaction)
        return self.end()

    def undoable(self, user):
        """How many transactions of a user can be undone."""
        spec = {"user_name": text(user) if sys.version_info[0] == 2 else user.encode()}
        return len(self.storage.undoInfo(0, -20, spec))

    def load(self, number):
        data, serial = self.storage.load(p64(number), "")
        return [data.decode("ascii"), hexed(serial)]

    def told(self, number, tid):
        """Waits until the object has been invalidated by this transaction."""
        deadline = time.time() + SOON_S
        with self.database.changed:
            while self.database.told.get(number, "") < tid:
                self.database.changed.wait(0.5)
                if time.time() > deadline:
                    raise AssertionError("not told: %r" % self.database.told)
        return True

    def known(self, number):
        """Whether the object's newest revision is in the cache."""
        if hasattr(self.storage, "_cache") and hasattr(self.storage._cache, "current"):
            return p64(number) in self.storage._cache.current
        return True

    def last(self):
        return hexed(self.storage.lastTransaction())

    def await_last(self, tid):
        deadline = time.time() + 2 * SOON_S
        while hexed(self.storage.lastTransaction() or b"") < tid or not self.storage.is_connected():
            time.sleep(0.05)
            if time.time() > deadline:
                raise AssertionError("at %r" % self.storage.lastTransaction())
        return True

    def status(self):
        status = self.storage.server_status()
        return [status["connections"], "verifying_clients" in status]

    def loads(self):
        """How many loads the server has answered."""
        return self.storage.server_status()["loads"]

    def history(self, number):
        return [entry["size"] for entry in self.storage.history(p64(number), size=10)]

    def count(self):
        return sum(len(list(each)) for each in self.storage.iterator())


def main():
    client = Client()
    for line in iter(sys.stdin.readline, ""):
        command = json.loads(line)
        try:
            answer = {"ok": getattr(client, command[0])(*command[1:])}
        except Exception as error:
            logging.exception("%s", command)
            answer = {"error": [type(error).__name__, str(error)]}
        print(json.dumps(answer))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
