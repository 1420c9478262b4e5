"""Blobs: streamed to clients with a cache of their own, and in a directory that client and server share."""
import os

import stage
from ZODB.blob import Blob


def _play(the, first, second):
    db = the.database(**first)
    manager, _, root = the.connection(db)
    contents = {"empty": b"", "small": b"a small blob", "large": b"0123456789abcdef" * 10000}
    for name, content in sorted(contents.items()):
        root[name] = Blob(content)
    manager.commit()
    reader = the.database(client_label="reader", **second)
    reading, _, read_root = the.connection(reader)
    for name, content in sorted(contents.items()):
        with read_root[name].open("r") as file:
            stage.equal(file.read(), content, name)
    with root["small"].open("w") as file:
        file.write(b"another content")
    manager.commit()
    stage.catch_up(reader, db)
    reading.begin()
    with read_root["small"].open("r") as file:
        stage.equal(file.read(), b"another content", "small")
    # Given up with the blob on its way.
    with root["small"].open("w") as file:
        file.write(b"never seen")
    manager.abort()


def blobs(the):
    the.start_with_blobs()
    _play(the, {"blob_dir": "first"}, {"blob_dir": "second"})


def blobs_shared(the):
    the.start_with_blobs()
    shared = {"blob_dir": os.path.join(the.data, "blobs"), "shared_blob_dir": True}
    _play(the, shared, {"blob_dir": "second"})


def blobs_undo(the):
    """The content of a blob is undone; one that never was is asked for."""
    the.start_with_blobs()
    db = the.database(blob_dir="first")
    manager, _, root = the.connection(db)
    root["blob"] = Blob(b"first")
    manager.commit()
    with root["blob"].open("w") as file:
        file.write(b"second")
    manager.commit()
    db.undo(db.undoLog(0, 1)[0]["id"], manager.get())
    manager.commit()
    manager.begin()
    with root["blob"].open("r") as file:
        stage.equal(file.read(), b"first", "content after the undo")
    storage = db.storage
    try:
        storage.loadBlob(root._p_oid, storage.lastTransaction())
    except Exception as error:
        stage.note("no blob: %.200r" % (error,))
