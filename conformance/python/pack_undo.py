"""An undo that is voted when a pack begins, and committed when all but the last of the pack is done.

Python's own pack fails there, so that this is for our server alone: in an assertion about the length of a transaction,
or, if the undone revision refers to what goes, in a PackError (fspack.py:copyOne, ZODB 6.4).
"""
import threading
import time

import common
from history import undo_id
from persistent.mapping import PersistentMapping
from ZODB.Connection import TransactionMetaData


def undo_beside_pack(args, tid):
    """Undo a transaction while a pack to now waits for the commit lock."""
    with common.storage_of(args) as undoer, common.storage_of(args) as packer:
        txn = TransactionMetaData()
        undoer.tpc_begin(txn)
        undoer.undo(undo_id(tid), txn)
        undoer.tpc_vote(txn)
        failures = []

        def pack():
            try:
                packer.pack(time.time(), wait=True)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=pack)
        thread.start()
        common.eventually(lambda: undoer._call("server_status")["waiting"] == 1, "the pack waits")
        undoer.tpc_finish(txn)
        thread.join(common.SOON_S)
        common.equal((thread.is_alive(), failures), (False, []), "the pack")


def main():
    args = common.arguments(__doc__)
    if args.python_server:
        common.succeed(packs=0)
        return
    with common.database(args) as (db, storage), common.connection(db) as (manager, root):
        root["changed"] = PersistentMapping(value=1, padding="x" * 500)
        root["dropped"] = PersistentMapping(inner=PersistentMapping(value="kept"))
        root["other"] = PersistentMapping(value=0)
        manager.commit()
        root["changed"]["value"] = 2
        root["other"]["value"] = 1
        manager.commit()
        undo_beside_pack(args, storage.lastTransaction())
        common.eventually(lambda: (manager.begin(), root["changed"]["value"])[1] == 1, "the undo")
        common.equal(root["other"]["value"], 0, "the other object of the undo")

        # What it brings back refers to objects to which nobody referred any more.
        del root["dropped"]
        manager.commit()
        undo_beside_pack(args, storage.lastTransaction())
        common.eventually(lambda: (manager.begin(), "dropped" in root)[1], "the undo")
        db.cacheMinimize()
        storage._cache.clear()
        common.equal(root["dropped"]["inner"]["value"], "kept", "what came back")
        root["dropped"]["inner"]["value"] = "changed"
        manager.commit()
        storage.pack(time.time(), wait=True)
    common.succeed(packs=3)


if __name__ == "__main__":
    main()
