"""The same blobs in the server and in Python's storages, packed by both at the same times."""
import base64
import io
import os
import pickle

import common
from ZODB.blob import Blob, BlobStorage
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError
from ZODB.serialize import referencesf
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import p64, z64

BLOB_RECORD = pickle.dumps(Blob, 3) + pickle.dumps(None, 3)
# A transaction each: what the root refers to, or None if it stays; the blobs
# that are written, or the number of the transaction to be undone.
HISTORY = (
    ([7, 8], (7, 8)),
    (None, (7,)),
    ([7], ()),            # 8 is garbage
    (None, (7,)),
    (None, 4),            # 7 as it was before
    ([7, 9], (9,)),
    (None, 6),            # 9 was never created
    ([7, 10], (10,)),
    (None, (10, 7)),
    (None, 9),
)
# Packed up to these, one after the other; then once more up to the end.
PACKS = 3, 6, 8


def tid(number):
    """Of a transaction of the history."""
    return TimeStamp(2026, 11, 20, 10, number, 1.5).raw()


def referring(oids):
    """A record that refers to these objects."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, 3)
    pickler.persistent_id = lambda state: (p64(state), None) if isinstance(state, int) else None
    pickler.dump((("module", "name"), None))
    pickler.dump(oids)
    return out.getvalue()


def play(storage, is_served, undoes):
    """Commit the history."""
    serials = {}
    for number, (refs, what) in enumerate(HISTORY, 1):
        txn = TransactionMetaData(b"", "%d" % number, {})
        storage.tpc_begin(txn, tid(number), " ")
        if refs is not None:
            storage.store(z64, serials.get(0, z64), referring(refs), "", txn)
            serials[0] = tid(number)
        if isinstance(what, int):
            if undoes:
                undo_id = base64.encodebytes(tid(what)).rstrip(b"\n")
                storage.undo(undo_id, txn)
                serials = {oid: tid(number) if serial == tid(what) else serial
                           for oid, serial in serials.items()}
                if what == 6:
                    del serials[9]
        else:
            if not is_served:
                # The server gets the record of a blob twice.
                for oid in what:
                    storage.store(p64(oid), serials.get(oid, z64), BLOB_RECORD, "", txn)
            for oid in what:
                name = os.path.abspath("upload-%d" % oid)
                with open(name, "w") as file:
                    file.write("%d by %d" % (oid, number))
                serial = serials.get(oid, z64)
                storage.storeBlob(p64(oid), serial, BLOB_RECORD, name, "", txn)
                serials[oid] = tid(number)
        storage.tpc_vote(txn)
        storage.tpc_finish(txn)


def listing(directory):
    """All files below a directory, with their contents; None without it."""
    if not os.path.exists(directory):
        return None
    found = {}
    for path, _, names in os.walk(directory):
        for name in names:
            name = os.path.join(path, name)
            with open(name) as file:
                found[os.path.relpath(name, directory)] = file.read()
    return found


def python_storage(kind, path):
    """The storage that Python would open for this configuration."""
    if kind == "wrapped":
        return BlobStorage(path, FileStorage(path + ".fs"))
    if kind == "mapping":
        return BlobStorage(path, MappingStorage())
    return FileStorage(path + ".fs", blob_dir=path, pack_keep_old=kind == "keep-old")


def main():
    args = common.arguments(__doc__, "kind", "blobs", "twin")
    twin = python_storage(args.kind, args.twin)
    undoes = args.kind != "mapping"
    with common.storage_of(args, blob_dir=os.path.abspath(args.kind)) as served:
        play(twin, False, undoes)
        play(served, True, undoes)
        common.equal(listing(args.blobs), listing(args.twin), "files before")
        # A wrapper around memory removes all revisions but the last, whatever
        # the time of the pack, and leaves records without their blobs.
        for number in PACKS + (len(HISTORY),) if undoes else (len(HISTORY),):
            # Just behind it: the last digits of the seconds get lost.
            time = TimeStamp(tid(number)).timeTime() + 0.01
            twin.pack(time, referencesf)
            served.pack(time, wait=True)
            for suffix in "", ".old":
                common.equal(listing(args.blobs + suffix), listing(args.twin + suffix),
                             "files%s after the pack %d" % (suffix, number))
        common.equal(listing(args.blobs + ".old") is None, args.kind != "keep-old",
                     "old files are kept")
        gone = p64(8), tid(1)
        with common.raises(POSKeyError, "a packed blob"):
            served._call("sendBlob", *gone)
    twin.close()
    common.succeed(files=len(listing(args.twin)))


if __name__ == "__main__":
    main()
