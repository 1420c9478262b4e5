"""Objects that are many, or large, or wanted soon."""
import stage
from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree
from persistent_classes import Plain
from ZODB.utils import p64, u64


def btrees(the):
    the.start()
    db = the.database()
    manager, _, root = the.connection(db)
    root["texts"], root["numbers"] = OOBTree(), IOBTree()
    for number in range(2000):
        root["texts"][u"key %05d" % number] = number
    for number in range(3000):
        root["numbers"][number] = u"value"
    manager.commit()
    for number in range(500, 900):
        del root["texts"][u"key %05d" % number]
    for number in range(100):
        root["texts"][u"another %05d" % number] = None
    manager.commit()

    reader = the.database(client_label="reader")
    _, _, read_root = the.connection(reader)
    stage.equal(len(read_root["texts"]), 1700, "number of texts")
    stage.equal(len(read_root["numbers"]), 3000, "number of numbers")


def big_objects(the):
    the.start()
    db = the.database()
    manager, _, root = the.connection(db)
    # Around the lengths where chunks and encodings change, and a large one.
    lengths = [250, 255, 65000, 65535, 66000, 400000, 1200000]
    for length in lengths:
        root[str(length)] = Plain(u"0123456789abcdef" * (length // 16))
    manager.commit()
    reader = the.database(client_label="reader")
    _, _, read_root = the.connection(reader)
    for length in lengths:
        stage.equal(len(read_root[str(length)].value), length // 16 * 16, "length")


def prefetch(the):
    the.start()
    db = the.database()
    manager, _, root = the.connection(db)
    root["all"] = [Plain(number) for number in range(20)]
    manager.commit()
    reader = the.database(client_label="reader")
    storage = reader.storage
    oids = [plain._p_oid for plain in root["all"]]
    now = p64(u64(storage.lastTransaction()) + 1)
    storage.prefetch(oids[:15] + [p64(2 ** 40)], now)
    for oid in oids:
        storage.loadBefore(oid, now)


def quota(the):
    the.start(storage=["quota 3000"])
    db = the.database()
    manager, _, root = the.connection(db)
    root["small"] = Plain(u"x" * 1000)
    manager.commit()
    for name in "one", "two", "three":
        root[name] = Plain(u"x" * 1000)
    try:
        manager.commit()
    except Exception as error:
        stage.note("over quota: %.200r" % (error,))
    else:
        raise AssertionError("a quota does not hold")
    manager.abort()
    root["small"].value = u"y" * 100
    manager.commit()


def status(the):
    """What a client may ask besides."""
    the.start()
    db = the.database()
    storage = db.storage
    storage.server_status()
    def tried(name):
        try:
            stage.server_call(storage, name)
        except Exception as error:
            stage.note("%s: %.200r" % (name, error))

    for name in ["lastTransaction", "get_info"] + (
            ["getExtensionMethods", "get_size_info"] if the.speaks_z4() else ["ping", "new_oid"]):
        tried(name)
    for count in (), (1,), (1000,), (0,):
        stage.server_call(storage, "new_oids", *count)
    # So many that a client asks twice for oids.
    for _ in range(105):
        storage.new_oid()
    # The server hangs up.
    tried("no_such_method")
