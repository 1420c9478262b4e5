"""What the scripts share: arguments, storages, waiting, processes, and the result.

A script says one JSON object a line on standard output. Everything else
goes to standard error, which the test shows when something fails.
"""
import argparse
import contextlib
import faulthandler
import json
import logging
import multiprocessing
import pickle
import signal
import sys
import time

import transaction
import ZODB
from persistent_classes import Plain
from ZEO.ClientStorage import ClientStorage

# A script that hangs says where, and ends; shorter than the test's limit.
SCRIPT_LIMIT_S = 90
# The longest wait for something that should happen at once.
SOON_S = 15

# A clock of the process and not a thread, because it has to work after a fork.
faulthandler.register(signal.SIGALRM, chain=True)
signal.alarm(SCRIPT_LIMIT_S)
logging.basicConfig(stream=sys.stderr, level=logging.WARNING)


def arguments(description, *paths):
    """Parse the command line; `paths` are names of further options."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--address")
    parser.add_argument("--greeting")
    parser.add_argument("--python-server", action="store_true")
    parser.add_argument("--our-server", action="store_true")
    for path in paths:
        parser.add_argument("--" + path)
    args = parser.parse_args()
    if args.address:
        host, port = args.address.rsplit(":", 1)
        args.address = host, int(port)
    return args


def open_storage(args, **options):
    """Open a storage, and check that it uses the framing it should."""
    options.setdefault("wait_timeout", SOON_S)
    storage = ClientStorage(args.address, **options)
    # ZEO 4 has one protocol, and does not tell.
    if args.greeting != "Z4":
        equal(storage.protocol_version, args.greeting.encode(), "protocol")
    return storage


@contextlib.contextmanager
def storage_of(args, **options):
    """A storage, closed at the end."""
    storage = open_storage(args, **options)
    try:
        yield storage
    finally:
        storage.close()


@contextlib.contextmanager
def database(args, storage=None, **options):
    """A database and its storage, closed at the end."""
    # Not `or`: an empty storage is false.
    if storage is None:
        storage = open_storage(args, **options)
    db = ZODB.DB(storage)
    try:
        yield db, storage
    finally:
        db.close()


@contextlib.contextmanager
def connection(db):
    """A connection with a transaction manager of its own, and its root."""
    manager = transaction.TransactionManager()
    conn = db.open(manager)
    try:
        yield manager, conn.root()
    finally:
        manager.abort()
        conn.close()


def equal(actual, expected, what):
    """Fail unless both are equal."""
    if actual != expected:
        raise AssertionError(
            "%s: %.2000r, expected %.2000r" % (what, actual, expected))


@contextlib.contextmanager
def raises(kind, what):
    """Fail unless exactly `kind` is raised; yields a list to find it in."""
    caught = []
    try:
        yield caught
    except Exception as error:
        if type(error) is not kind:
            raise
        caught.append(error)
    else:
        raise AssertionError("%s: expected %s" % (what, kind.__name__))


def eventually(condition, what, limit_s=SOON_S):
    """Ask `condition` until it gives something true, and return that."""
    deadline = time.monotonic() + limit_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError("not within %s s: %s" % (limit_s, what))
        time.sleep(0.002)


def start_process(function, *args):
    """Run `function` in a process of its own.

    It is forked, so no storage may be open: threads do not come along.
    Returns (process, this end of a pipe whose other end is the last
    argument of the function).
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def run():
        here.close()
        signal.alarm(SCRIPT_LIMIT_S)
        function(*args, there)

    process = context.Process(target=run, daemon=True)
    process.start()
    there.close()
    return process, here


def receive(pipe, what, limit_s=SOON_S):
    """The next object from a pipe; fails if none comes in time."""
    if not pipe.poll(limit_s):
        raise AssertionError("not within %s s: %s" % (limit_s, what))
    return pipe.recv()


def join(process, limit_s=SCRIPT_LIMIT_S):
    """Wait for a process, which must succeed."""
    process.join(limit_s)
    equal(process.exitcode, 0, "exit code of a process")


def commit(storage, txn, *operations):
    """One transaction at the storage's interface; returns its tid.

    An operation is (name of a method of the storage, its arguments but
    the last).
    """
    storage.tpc_begin(txn)
    try:
        for name, *arguments in operations:
            getattr(storage, name)(*arguments, txn)
        storage.tpc_vote(txn)
    except BaseException:
        storage.tpc_abort(txn)
        raise
    tid = storage.tpc_finish(txn)
    # ZEO 4 does not return it.
    return storage.lastTransaction() if tid is None else tid


def record(value):
    """A database record as ZODB writes it: of a `Plain` object."""
    return pickle.dumps(Plain, 3) + pickle.dumps({"value": value}, 3)


def store(oid, serial, data):
    """An operation for `commit`."""
    return "store", oid, serial, data, ""


class LogCatcher(logging.Handler):
    """Keeps the exceptions that the client only logs, while it is in use."""

    def __init__(self):
        super().__init__()
        self.errors = []

    def emit(self, record):
        if record.exc_info:
            self.errors.append(record.exc_info[1])

    def __enter__(self):
        logging.getLogger("ZEO").addHandler(self)
        return self

    def __exit__(self, *exc_info):
        logging.getLogger("ZEO").removeHandler(self)


def step(name, **values):
    """Say that the script has come to a place the test waits for."""
    print(json.dumps(dict(values, step=name)), flush=True)


def await_answer(expected):
    """Wait for the test's answer."""
    equal(sys.stdin.readline().strip(), expected, "answer")


def succeed(**values):
    """Say that all is well; the last thing a script does."""
    print(json.dumps(dict(values, result=True)), flush=True)
