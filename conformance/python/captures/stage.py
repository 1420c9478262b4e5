"""What the scenarios share: storages that talk through the recorder, waiting, and the conversation with the stage."""
from __future__ import print_function

import io
import json
import logging
import os
import socket
import struct
import sys
import time

import transaction
import ZODB
from persistent_classes import Plain
from ZEO.ClientStorage import ClientStorage
from ZODB.utils import p64, u64
from zodbpickle.pickle import Pickler

try:
    from ZODB.Connection import TransactionMetaData
except ImportError:  # ZODB 4
    from transaction import Transaction as TransactionMetaData

# The longest wait for something that should happen at once.
SOON_S = 20

# ZEO 4 has no asyncio.
try:
    import ZEO.asyncio.client
    IS_ZEO4 = False
except ImportError:
    IS_ZEO4 = True

# Of pickles in databases.
PROTOCOL = 1 if sys.version_info[0] == 2 and IS_ZEO4 else 3

logging.basicConfig(stream=sys.stderr, level=logging.INFO)
clock = getattr(time, "monotonic", time.time)


class Stage(object):
    """A play.

    `address` is the recorder's; what goes to `server` is not recorded. `data` is the server's directory.
    """

    def __init__(self, address, server, data):
        self.address, self.server = parse(address), parse(server)
        self.data = data
        self._open = []
        # Whatever ZEO prints must not be taken for what the play says.
        self._out, sys.stdout = sys.stdout, sys.stderr

    # The conversation with the stage.

    def say(self, **values):
        print(json.dumps(values), file=self._out)
        self._out.flush()

    def ask(self, name, **values):
        """Have the stage do something, and wait until it is done."""
        self.say(step=name, **values)
        answer = sys.stdin.readline().strip()
        if answer != "ok":
            raise AssertionError("the stage says %r" % answer)

    def start(self, zeo=(), storage=()):
        """Start the server, with these lines in its configuration."""
        self.ask("start", zeo=list(zeo), storage=list(storage))

    def start_with_blobs(self, zeo=()):
        self.start(zeo, ["blob-dir blobs"])

    def status(self):
        """The server's status, without a trace in the recording."""
        with Stranger(self.server) as probe:
            probe.say(b"ruok")
            probe.hear()
            return json.loads(probe.hear().decode("ascii"))["1"]

    def speaks_z4(self):
        """Whether the server announces ZEO 4."""
        with Stranger(self.server) as probe:
            return probe.hear() == b"Z4"

    # Clients. All of them talk through the recorder.

    def storage(self, cache=None, **options):
        """A client. One with a cache has it in a file of this name."""
        options.setdefault("wait_timeout", SOON_S)
        if IS_ZEO4:
            options.setdefault("wait", True)
            options.update(min_disconnect_poll=1, max_disconnect_poll=1)
            if cache:
                options.update(client=cache, var=os.getcwd())
        elif cache:
            options["cache"] = os.path.join(os.getcwd(), cache)
        storage = ClientStorage(self.address, **options)
        self._open.append(storage)
        return storage

    def knock(self, **options):
        """A client that will not be let in; it must give up."""
        if not IS_ZEO4:
            try:
                storage = self.storage(wait_timeout=2, **options)
            except Exception as error:
                return note("not let in: %.200r" % (error,))
            raise AssertionError("%r was let in" % (storage,))
        # One of ZEO 4 never gives up: its first attempt is enough.
        equal(self.try_door(**options), None, "a client that was not to be let in")

    def try_door(self, **options):
        """A client that may make one attempt; None if that came to nothing."""
        if IS_ZEO4:
            from ZEO.zrpc.connection import ManagedClientConnection as kind
            name = "close"
        else:
            kind, name = ZEO.asyncio.client.Protocol, "connection_lost"
        ended = []
        original = getattr(kind, name)

        def noted(connection, *arguments):
            original(connection, *arguments)
            ended.append(connection)

        setattr(kind, name, noted)
        try:
            storage = self.storage(wait=False, **options)
            # An answer that a client does not understand is no end.
            poll(lambda: ended or is_ready(storage), 3)
        finally:
            setattr(kind, name, original)
        if not ended and is_ready(storage):
            return storage
        self.close(storage)

    def database(self, **options):
        """A database on a new client."""
        return self.on(self.storage(**options))

    def on(self, storage):
        """A database on this client."""
        db = ZODB.DB(storage)
        self._open.remove(storage)
        self._open.append(db)
        return db

    def connect_again(self):
        """Nobody is to wait for nine seconds until a client of ZEO 5 tries again."""
        if IS_ZEO4:
            return
        client = ZEO.asyncio.client
        io = getattr(client, "ClientIO", None) or client.Client
        original = io.__init__

        def init(self, *arguments, **options):
            options["register_failed_poll"] = 0.5
            original(self, *arguments, **options)

        io.__init__ = init

    def connection(self, db):
        """A connection with a transaction manager of its own: both, and the root."""
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        return manager, connection, connection.root()

    def close(self, *things):
        """Close databases and storages; all without arguments, newest first."""
        for thing in things or self._open[::-1]:
            thing.close()
            self._open.remove(thing)


def parse(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


def poll(condition, limit_s):
    """Ask until there is something true or the time is over, and return the last answer."""
    deadline = clock() + limit_s
    while True:
        answer = condition()
        if answer or clock() > deadline:
            return answer
        time.sleep(0.005)


def eventually(condition, what):
    """Ask until there is something true, and return that."""
    answer = poll(condition, SOON_S)
    if not answer:
        raise AssertionError("not within %s s: %s" % (SOON_S, what))
    return answer


def equal(actual, expected, what):
    if actual != expected:
        raise AssertionError("%s: %.1000r, expected %.1000r" % (what, actual, expected))


def fails(kinds, call, *arguments):
    """The call must raise one of these."""
    try:
        call(*arguments)
    except kinds as error:
        return error
    raise AssertionError("%r was not raised" % (kinds,))


def catch_up(reader, writer):
    """Wait until one client has been told of what another has committed; both are databases."""
    tid = writer.storage.lastTransaction()
    eventually(lambda: last_told(reader.storage) >= tid, "the invalidation")


def last_told(storage):
    return storage._cache.getLastTid() or b"\0" * 8


def begin(user=u"", description=u"", **extension):
    """A transaction at the interface of storages."""
    txn = TransactionMetaData()
    txn.user, txn.description = text(user), text(description)
    if extension:
        try:
            txn.extension = extension
        except AttributeError:
            pass
        txn._extension = extension
    return txn


def text(value):
    """What a transaction of this version takes."""
    if TransactionMetaData.__module__.startswith("transaction"):
        return value
    return value.encode("utf-8")


def commit(storage, txn, *operations):
    """One transaction at the interface of storages, up to the end; its tid.

    An operation is the name of a method and its arguments, but the last.
    """
    storage.tpc_begin(txn)
    try:
        for operation in operations:
            getattr(storage, operation[0])(*(operation[1:] + (txn,)))
        storage.tpc_vote(txn)
    except BaseException:
        storage.tpc_abort(txn)
        raise
    return finish(storage, txn)


def finish(storage, txn):
    tids = []
    storage.tpc_finish(txn, tids.append)
    return tids[0]


def connection_of(storage):
    """What stands for the connection that a client has: another thing after each."""
    return storage._connection if IS_ZEO4 else storage._server.client.protocol


def is_ready(storage):
    """Whether a client has a connection, and knows it: one of ZEO 5 calls itself connected a little too early."""
    return storage.is_connected() and (IS_ZEO4 or storage._server.client.connected.done())


def reconnected(storage, connection):
    """Wait until a client has another connection than this, and is ready."""
    eventually(lambda: connection_of(storage) not in (None, connection) and is_ready(storage), "a connection")


def server_call(storage, name, *arguments):
    """A call that the client has no method for."""
    if IS_ZEO4:
        return storage._server.rpc.call(name, *arguments)
    return storage._call(name, *arguments)


class Stranger(object):
    """Somebody who says what he likes, frame by frame."""

    def __init__(self, address):
        self._socket = socket.create_connection(address, SOON_S)
        self._stream = self._socket.makefile("rb")

    def say(self, payload):
        self._socket.sendall(struct.pack(">I", len(payload)) + payload)

    def hear(self):
        """A frame; nothing if there is none any more."""
        try:
            length = self._stream.read(4)
        except socket.error:
            return b""
        return self._stream.read(struct.unpack(">I", length)[0]) if len(length) == 4 else b""

    def close(self):
        self._stream.close()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


def record(value, kind=Plain):
    """A database record as ZODB writes it, of an object of this class."""
    file = io.BytesIO()
    pickler = Pickler(file, PROTOCOL)
    pickler.dump(kind)
    pickler.dump({"value": value})
    return file.getvalue()


def following(tid):
    """The smallest tid above this one."""
    return p64(u64(tid) + 1)


def note(text):
    """Something for whoever reads the logs."""
    print(text, file=sys.stderr)
