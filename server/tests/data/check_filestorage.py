"""Compares a data file that we wrote, and its index, with what Python makes of them. To be run by hand:

    target/peers/6.2/bin/python server/tests/data/check_filestorage.py DIR/Data.fs

The file is copied first, so that Python's lock and index do not touch the original.
"""
import os
import shutil
import sys
import tempfile

import ZODB.scripts.fstest
from ZODB.FileStorage import FileStorage
from ZODB.fsIndex import fsIndex

source = sys.argv[1]
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "Data.fs")
    shutil.copy(source, path)
    ours = fsIndex.load(source + ".index")
    ZODB.scripts.fstest.check(path)  # raises FormatError
    print("fstest: no complaint")

    storage = FileStorage(path)  # without an index file: Python scans
    assert not storage._used_index
    assert list(storage._index.items()) == list(ours["index"].items()), "index content differs"
    assert storage._pos == ours["pos"] == os.path.getsize(source)
    storage.close()
    pythons, ours_bytes = open(path + ".index", "rb").read(), open(source + ".index", "rb").read()
    assert pythons == ours_bytes, "index bytes differ"
    print("index: %d entries, same content and same bytes" % len(ours["index"]))

    shutil.copy(source + ".index", path + ".index")
    storage = FileStorage(path)
    assert storage._used_index, "Python did not trust our index"
    count = 0
    for transaction in storage.iterator():
        for record in transaction:
            count += 1
    for oid in storage._index:
        data, serial = storage.load(oid) if storage._index[oid] else None
    print("python reads %d records of %d objects up to %s" % (
        count, len(storage), storage.lastTransaction().hex()))
    storage.close()
