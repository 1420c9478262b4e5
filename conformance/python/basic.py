"""An application writes trees and large objects; another process reads the same."""
import hashlib
import random

import BTrees.OOBTree
import common
from journal import Journal
from persistent_classes import Plain

KEYS = 5000
BATCHES = 5
SIZES = 1, 255, 256, 65535, 65536, 1024 * 1024, 5 * 1024 * 1024

EXTENSION = {
    "text": "Grüße \N{SNOWMAN} \U0001f40d",
    "bytes": bytes(range(256)),
    "float": -0.1,
    "infinity": float("inf"),
    "flag": True,
    "nothing": None,
    "integers": [0, -1, 255, 256, 65535, 65536, 2**31 - 1, -2**31, 2**31,
                 2**53 + 1, 2**63 - 1, -2**63, 2**64 - 1],
    "nested": {"list": [1, [2, (3, b"\x00")], {}], "empty": [(), "", b""]},
}


def noise(size):
    """Bytes that do not compress, always the same for a size."""
    return random.Random(size).getrandbits(8 * size).to_bytes(size, "big")


def content(root):
    """One hash over everything that the application keeps."""
    result = hashlib.sha256()
    for key, value in root["tree"].items():
        result.update(("%s=%s;" % (key, value)).encode())
    for name in sorted(root["sizes"]):
        data = root["sizes"][name].value
        result.update(b"%s:%d:" % (name.encode(), len(data)) + data)
    return result.hexdigest()


def write(args, pipe):
    """The application: several transactions, one with all metadata."""
    extension = dict(EXTENSION)
    if args.greeting.startswith("Z"):
        # msgpack has no larger integers than 64 bits.
        extension["big"] = [2**64, -2**70, 2**2100]
    storage = common.open_storage(args)
    journal = Journal(storage)
    with common.database(args, storage) as (db, storage):
        with common.connection(db) as (manager, root):
            root["tree"] = BTrees.OOBTree.OOBTree()
            keys = list(range(KEYS))
            random.Random(1).shuffle(keys)
            for batch in range(BATCHES):
                txn = manager.get()
                txn.setUser("Jörg \N{SNOWMAN}", "/döner")
                txn.note("Stapel %d \N{GREEK SMALL LETTER ALPHA}" % batch)
                for name, value in extension.items():
                    txn.setExtendedInfo(name, value)
                for key in keys[batch::BATCHES]:
                    root["tree"]["key %05d" % key] = "wert %d ä" % key
                manager.commit()
            root["sizes"] = BTrees.OOBTree.OOBTree()
            for size in SIZES:
                root["sizes"]["%08d" % size] = Plain(noise(size))
                manager.commit()
            # Change one that exists, so that the file has old revisions.
            root["sizes"]["%08d" % 256].value = noise(257)
            manager.commit()
            pipe.send(content(root))
        journal.save(args.journal)


def read(args, pipe):
    """The other process."""
    with common.database(args) as (db, storage):
        with common.connection(db) as (manager, root):
            common.equal(len(root["tree"]), KEYS, "keys")
            common.equal(root["tree"]["key 00042"], "wert 42 ä", "value")
            pipe.send(content(root))


def main():
    args = common.arguments(__doc__, "journal")
    writer, pipe = common.start_process(write, args)
    written = common.receive(pipe, "the writer's content", 40)
    common.join(writer)
    reader, pipe = common.start_process(read, args)
    common.equal(common.receive(pipe, "the reader's content", 40), written,
                 "content in the other process")
    common.join(reader)
    common.succeed(content=written)


if __name__ == "__main__":
    main()
