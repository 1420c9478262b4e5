"""A Python client beside one in Rust, which tells it what to do, line by line.

Each line is a JSON list: what to do, and with what. Each answer is a step of
that name.
"""
import json
import os
import queue
import sys
import tempfile

import common
import ZODB.utils

try:
    from ZODB.Connection import TransactionMetaData
except ImportError:
    # ZODB 4.
    class TransactionMetaData:
        """What a storage wants of a transaction."""

        def __init__(self, user, description):
            self.user, self.description, self._extension = user, description, {}


class Announced:
    """Takes the place of a database: keeps what the storage announces."""

    def __init__(self):
        self.queue = queue.Queue()

    def invalidate(self, tid, oids):
        self.queue.put((tid.hex(), sorted(oid.hex() for oid in oids)))

    def invalidateCache(self):
        pass

    def transform_record_data(self, data):
        return data

    untransform_record_data = transform_record_data


def commit(storage, oids, text):
    """Store objects, new ones or over what they are; the tid and the data."""
    operations = []
    data = common.record(text)
    for oid in map(bytes.fromhex, oids):
        try:
            serial = storage.getTid(oid)
        except KeyError:
            serial = ZODB.utils.z64
        operations.append(common.store(oid, serial, data))
    txn = TransactionMetaData("peer", "commit of " + text)
    tid = common.commit(storage, txn, *operations)
    return {"tid": tid.hex(), "data": data.hex()}


def blob_record():
    """The database record of a blob."""
    return b"\x80\x03cZODB.blob\nBlob\nq\x01.\x80\x03N."


def store_blob(storage, oid, text, times):
    """Store a blob, a new one or over what it is; the tid and its file."""
    oid = bytes.fromhex(oid)
    try:
        serial = storage.getTid(oid)
    except KeyError:
        serial = ZODB.utils.z64
    fd, path = tempfile.mkstemp(dir=storage.temporaryDirectory())
    with open(fd, "wb") as file:
        file.write(text.encode() * times)
    txn = TransactionMetaData("peer", "a blob of " + text)
    operation = "storeBlob", oid, serial, blob_record(), path, ""
    tid = common.commit(storage, txn, operation)
    return {
        "tid": tid.hex(), "path": storage.fshelper.getBlobFilename(oid, tid)}


def load_blob(storage, oid, serial):
    """A blob's content, its file, and whether that was there before."""
    oid, serial = bytes.fromhex(oid), bytes.fromhex(serial)
    was_there = os.path.exists(storage.fshelper.getBlobFilename(oid, serial))
    path = storage.loadBlob(oid, serial)
    with storage.openCommittedBlobFile(oid, serial) as file:
        content = file.read()
    return {"content": content.hex(), "path": path, "was_there": was_there}


def load(storage, oid):
    """The current revision, from the server."""
    data, serial = storage.load(bytes.fromhex(oid))
    return {"data": data.hex(), "serial": serial.hex()}


def announced(received, last):
    """All that was announced up to the transaction `last`."""
    found = []
    while not found or found[-1][0] < last:
        found.append(received.queue.get(timeout=common.SOON_S))
    return {"found": found}


def main():
    args = common.arguments(__doc__, "blobs", "shared-blobs")
    received = Announced()
    options = {}
    if args.blobs or args.shared_blobs:
        options["blob_dir"] = args.blobs or args.shared_blobs
        options["shared_blob_dir"] = bool(args.shared_blobs)
    with common.storage_of(args, **options) as storage:
        storage.registerDB(received)
        common.step("ready", last=storage.lastTransaction().hex())
        for line in sys.stdin:
            what, *values = json.loads(line)
            if what == "commit":
                answer = commit(storage, *values)
            elif what == "load":
                answer = load(storage, *values)
            elif what == "store_blob":
                answer = store_blob(storage, *values)
            elif what == "load_blob":
                answer = load_blob(storage, *values)
            elif what == "announced":
                answer = announced(received, *values)
            elif what == "end":
                break
            common.step(what, **answer)
    common.succeed()


if __name__ == "__main__":
    main()
