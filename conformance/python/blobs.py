"""Blobs through a server: streamed or shared, seen by others, aborted, in conflict, missing."""
import hashlib
import os
import uuid

import common
import transaction
import ZODB
from ZODB.blob import Blob, BlobStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError
from ZODB.utils import p64, u64

# Nothing, something, the edges of a message, and many messages.
SIZES = 0, 1, 58999, 59000, 59001, 118000, 10_000_000


def content(number, size):
    """Bytes that are different everywhere and the same in every process."""
    blocks = (hashlib.sha512(b"%d %d" % (number, block)).digest()
              for block in range(size // 64 + 1))
    return b"".join(blocks)[:size]


def filled(number, size):
    """A new blob."""
    blob = Blob()
    with blob.open("w") as file:
        file.write(content(number, size))
    return blob


def read(blob):
    with blob.open() as file:
        return file.read()


def files_in(directory):
    """Names of all files below, but the marker of the layout."""
    return sorted(os.path.join(path, name)
                  for path, _, names in os.walk(directory)
                  for name in names if name != ".layout")


def client(args, name, **options):
    """Options of a client that has a blob directory."""
    if args.shared:
        options.update(blob_dir=args.blobs, shared_blob_dir=True)
    else:
        options["blob_dir"] = os.path.abspath("%s-%s" % (name, uuid.uuid4()))
    return options


def only_committed(args, what):
    """Nothing lies in the server's directory but committed revisions."""
    def uncommitted():
        return [name for name in files_in(args.blobs)
                if not name.endswith(".blob")]

    # The server removes files when it hears of an abort; nobody waits for it.
    common.eventually(lambda: not uncommitted(), what + ": temporary files")


def sizes(args, one, other):
    """Every size arrives, and a process that has never seen it gets it."""
    manager, root = one
    for number, size in enumerate(SIZES):
        root[number] = filled(number, size)
    manager.commit()
    common.eventually(lambda: (other[0].begin(), len(other[1]))[1]
                      == len(SIZES), "the blobs in the other process")
    for number, size in enumerate(SIZES):
        for blob in root[number], other[1][number]:
            common.equal(read(blob) == content(number, size), True,
                         "content of %d bytes" % size)
            common.equal(os.path.getsize(blob.committed()), size, "size")


def changed(args, one, other):
    """A new revision is announced; the old one can still be read."""
    blob, theirs = one[1][1], other[1][1]
    old = blob._p_serial
    with blob.open("w") as file:
        file.write(b"new")
    one[0].commit()
    common.eventually(lambda: (other[0].begin(), read(theirs))[1] == b"new",
                      "the new revision")
    with open(blob._p_jar._storage.loadBlob(blob._p_oid, old), "rb") as file:
        common.equal(file.read(), content(1, 1), "the old revision")


def aborted(args, one, storage):
    """An aborted transaction leaves nothing, voted or not."""
    before = files_in(args.blobs)
    data = one[1][2]
    record, serial = storage.load(data._p_oid)
    for votes in False, True:
        txn = transaction.TransactionManager().get()
        storage.tpc_begin(txn)
        with open("upload", "wb") as file:
            file.write(content(9, 200_000))
        storage.storeBlob(data._p_oid, serial, record, "upload", "", txn)
        if votes:
            storage.tpc_vote(txn)
        storage.tpc_abort(txn)
        # The server answers after it has handled what came before.
        storage._call("ping")
        if args.shared or votes:
            only_committed(args, "abort, voted %s" % votes)
        common.equal([name for name in files_in(args.blobs)
                      if name.endswith(".blob")],
                     [name for name in before if name.endswith(".blob")],
                     "files after an abort")
    common.equal(storage.load(data._p_oid), (record, serial), "record")


def conflict(args, one, other):
    """The second of two commits fails, and its blob with it."""
    for manager, root in one, other:
        manager.begin()
        with root[3].open("w") as file:
            file.write(b"by " + str(id(manager)).encode())
    one[0].commit()
    with common.raises(ConflictError, "conflict on a blob"):
        other[0].commit()
    other[0].abort()
    only_committed(args, "conflict")
    expected = b"by " + str(id(one[0])).encode()
    common.eventually(lambda: (other[0].begin(), read(other[1][3]))[1]
                      == expected, "the winner's content")


def missing(args, storage):
    """The error for a blob that is not there has Python's words."""
    oid, serial = p64(0x1234), storage.lastTransaction()
    path = "".join("/0x%02x" % byte for byte in oid)
    path = "%s%s/0x%016x.blob" % (args.blobs, path, u64(serial))
    expected = POSKeyError("No blob file at %s" % path, oid, serial)
    with common.raises(POSKeyError, "missing blob") as caught:
        storage._call("sendBlob", oid, serial)
    common.equal(caught[0].args, expected.args, "missing blob")
    with common.raises(POSKeyError, "missing blob"):
        storage.loadBlob(oid, serial)


def journal(args, root):
    """What `check` is to find."""
    revisions = []
    for blob in root.values():
        digest = hashlib.sha256(read(blob)).hexdigest()
        # Known only now that it has been read.
        serial = blob._p_serial.hex()
        revisions.append([blob._p_oid.hex(), serial, digest])
    return sorted(revisions)


def use(args):
    with common.database(args, **client(args, "one")) as (db1, storage), \
            common.connection(db1) as one, \
            common.database(args, **client(args, "other")) as (db2, _), \
            common.connection(db2) as other:
        sizes(args, one, other)
        changed(args, one, other)
        aborted(args, one, storage)
        conflict(args, one, other)
        missing(args, storage)
        one[0].begin()
        common.succeed(revisions=journal(args, one[1]))


def commit_until_killed(args):
    """Commit blobs until the server is gone, telling of each commit."""
    with common.database(args, **client(args, "one")) as (db, storage), \
            common.connection(db) as (manager, root):
        for number in range(len(root), 10_000):
            size = (59_000, 1_000_000, 0)[number % 3]
            root[number] = filled(number, size)
            try:
                manager.commit()
            except Exception:
                break
            common.step("committed", number=number)
    common.succeed()


def check(args):
    """Python opens what the server has left: every blob is whole."""
    storage = FileStorage(args.file)
    storage = BlobStorage(args.blobs, storage)
    db = ZODB.DB(storage)
    with common.connection(db) as (_, root):
        found = {}
        for txn in storage.iterator():
            records = [record.oid for record in txn]
            for record in txn:
                if storage.is_blob_record(record.data):
                    # Once for `storea`, once for the blob, as Python writes.
                    common.equal(records.count(record.oid) in args.records,
                                 True, "records of a blob")
                    path = storage.loadBlob(record.oid, record.tid)
                    found[record.oid, record.tid] = path
                    # Python's wrapper leaves what it undoes writable.
                    if args.read_only:
                        mode = os.stat(path).st_mode
                        common.equal(mode & 0o222, 0, "mode")
        files = files_in(args.blobs)
        if args.orphans:
            files = [name for name in files if name in found.values()]
        common.equal(files, sorted(found.values()), "files")
        if args.deterministic:
            for number, blob in root.items():
                size = (59_000, 1_000_000, 0)[number % 3]
                common.equal(read(blob) == content(number, size), True,
                             "content %d" % number)
        # The root is not always full of blobs.
        revisions = [] if args.files_only else journal(args, root)
        count = len(root)
    db.close()
    common.succeed(revisions=revisions, count=count)


def main():
    args = common.arguments(__doc__, "blobs", "file", "do")
    args.do, *flags = args.do.split(",")
    args.shared = "shared" in flags
    args.deterministic = "deterministic" in flags
    args.files_only = "files" in flags
    args.read_only = "python" not in flags
    args.records = (2,) if args.read_only else (1, 2)
    if "undone" in flags:
        # One for each record that is undone.
        args.records = range(1, 5)
    # Python's wrapper copies the content of a blob whose creation is undone.
    args.orphans = "undone" in flags and "python" in flags
    globals()[args.do](args)


if __name__ == "__main__":
    main()
