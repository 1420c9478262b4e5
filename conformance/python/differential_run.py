"""One storage on both servers, and one step after the other on it."""
import collections
import os
import signal
import threading

import common
from differential_sides import At, Own, Raised
from differential_story import BLOBS, OBJECTS, Story
from ZODB.Connection import TransactionMetaData
from ZODB.serialize import referencesf
from ZODB.utils import p64, u64, z64

# Two that write, and one that may not.
WRITERS = 0, 1
READER = 2
CLIENTS = 3


def difference(ours, theirs):
    """Where two answers differ first, and what is there."""
    if type(ours) is type(theirs) and type(ours) in (tuple, list):
        for number, pair in enumerate(zip(ours, theirs)):
            if pair[0] != pair[1]:
                where, *parts = difference(*pair)
                return ("[%d]%s" % (number, where), *parts)
    return "", ours, theirs


class Transaction:
    """One that is open on both sides."""

    def __init__(self, metadata, begin):
        # A tid that is given, and the status; or nothing.
        self.begin = begin
        # The client keeps something in it.
        self.own = Own([TransactionMetaData(*metadata) for _ in range(2)])
        # (method, arguments), number of the object that it changes.
        self.operations = []
        self.has_voted = False
        # Objects that the vote told of: undone, or merged.
        self.told = frozenset()

    def touches(self):
        """The objects that nobody else may touch from its vote on; with None in it, all of them."""
        plain = "store", "deleteObject", "checkCurrentSerialInTransaction"
        touched = {arguments[0] if method in plain else None for (method, arguments), _ in self.operations}
        return touched | {None} if self.begin else touched


class Run:
    """One storage on both sides."""

    def __init__(self, sides, kind, rng, exceptions):
        self.sides, self.kind, self.rng, self.exceptions = sides, kind, rng, exceptions
        self.open = {}
        self.said = collections.deque(maxlen=40)
        self.counts = collections.Counter()
        self.connect()
        tids = [[txn.tid for txn in side.clients[0].iterator()] for side in sides]
        common.equal(*tids, "tids at the start")
        for side in sides:
            for tid in tids[0]:
                side.committed(tid)
        self.story = Story(rng, len(tids[0]), kind.blobs is not None, kind.file is not None)

    def connect(self):
        for side in self.sides:
            side.connect(self.kind.name, CLIENTS)

    def close(self):
        """Abort what is open, and disconnect."""
        for client in sorted(self.open, key=lambda client: not self.open[client].has_voted):
            self.abort(client)
        for side in self.sides:
            side.close()

    def connect_again(self):
        """Clients with their caches, in which nothing is left after the verification but what is current."""
        self.exceptions.is_connected_again = True
        self.connect()
        for client in range(CLIENTS):
            self.ask(client, "lastTransaction")
            for oid, known in self.story.revisions.items():
                for side in self.sides:
                    cached = side.clients[client]._cache.load(p64(oid))
                    if cached and p64(oid) not in self.exceptions.stale:
                        self.compare(side.plain(cached[1]), At(known[-1]), 
                                     "side %d: serial of %d in the cache of %d" % (side.index, oid, client))

    # The same on both sides.

    def note(self, *what):
        """For the report of a difference."""
        self.said.append(what)

    def report(self):
        """The last steps, for people."""
        return "\n".join("%.400r" % (each,) for each in self.said)

    def compare(self, ours, theirs, what):
        """Fail unless both are equal."""
        if ours != theirs:
            raise AssertionError("%s%s\nours:   %.3000r\nPython: %.3000r" % (what, *difference(ours, theirs)))

    def ask(self, client, method, *arguments):
        """Compare what both say, and return it."""
        self.note(client, method, arguments)
        answers = [side.answer(client, method, *arguments) for side in self.sides]
        self.compare(*answers, "%s %r" % (method, arguments))
        self.counts["questions" if method == "_call" else method] += 1
        if isinstance(answers[0], Raised):
            self.counts[answers[0].name] += 1
        return answers[0]

    # The phases of a transaction.

    def begin(self, client):
        txn = self.open[client] = Transaction(self.story.metadata(), self.story.begin())
        self.ask(client, "tpc_begin", txn.own, *txn.begin)
        for operation in self.story.operations(txn.begin):
            (method, arguments), _ = operation
            self.ask(client, method, *arguments, txn.own)
            txn.operations.append(operation)

    def vote(self, client):
        txn = self.open[client]
        self.note(client, "tpc_vote")
        self.judge(client, [side.answer(client, "tpc_vote", txn.own) for side in self.sides])

    def judge(self, client, votes):
        """Compare two votes; unless both are for it the transaction is over."""
        txn = self.open[client]
        ours, theirs = (vote if isinstance(vote, Raised) else frozenset(vote or ()) for vote in votes)
        self.exceptions.uneven_votes += ours != frozenset()
        if ours != theirs and self.exceptions.is_vote_excused(ours, theirs, txn.operations):
            return self.abort(client)
        self.compare(ours, theirs, "tpc_vote of %r" % (txn.operations,))
        if isinstance(ours, Raised):
            self.counts[ours.name] += 1
            return self.abort(client)
        if self.exceptions.is_commit_excused(ours, txn.operations):
            return self.abort(client)
        txn.has_voted, txn.told = True, ours

    def abort(self, client):
        self.ask(client, "tpc_abort", self.open.pop(client).own)

    def finish(self, client):
        txn = self.open.pop(client)
        self.note(client, "tpc_finish")
        for side in self.sides:
            side.committed(side.clients[client].tpc_finish(side.resolve(txn.own)))
        self.counts["commits"] += 1
        changed = {p64(oid) for _, oid in txn.operations if oid is not None} | txn.told
        quiet = {p64(oid) for (method, _), oid in txn.operations if method in ("deleteObject", "restore")}
        self.exceptions.committed(self.story.count, quiet, changed - quiet, txn.operations)
        self.story.committed(map(u64, changed))
        self.listen(quiet)

    def listen(self, quiet=frozenset()):
        """What the clients have been told."""
        for client in range(CLIENTS):
            ours, theirs = (side.heard(client) for side in self.sides)
            self.compare(self.exceptions.announced(ours, theirs, quiet), theirs, "invalidations")
            self.ask(client, "lastTransaction")
            self.ask(client, "getSize")
            self.ask(client, "__len__")

    def wait_for_the_lock(self, client):
        """The other one votes while this one holds the lock, and gets it."""
        other = 1 - client
        if other not in self.open:
            self.begin(other)
        if self.open[other].begin:
            return self.finish(client)
        txn, votes = self.open[other], [None, None]

        def vote(side):
            # It may tell of the commit that comes next, which has no number yet.
            votes[side.index] = side.call(other, "tpc_vote", txn.own)

        self.note(other, "tpc_vote, waiting")
        voters = [threading.Thread(target=vote, args=(side,), daemon=True) for side in self.sides]
        for voter in voters:
            voter.start()
        ours, theirs = self.sides
        self.await_waiting(theirs)
        voter = voters[ours.index]
        common.eventually(lambda: not voter.is_alive() or self.is_waiting(ours), "a vote that waits or is answered")
        if voter.is_alive():
            self.counts["votes that waited"] += 1
        else:
            # Our server lets transactions of different objects be voted on beside each other.
            held, voted = (self.open[each].touches() for each in (client, other))
            if held & voted or None in held | voted:
                raise AssertionError("a vote on %r did not wait for one on %r" % (voted, held))
            self.counts["votes beside each other"] += 1
        self.rng.choice((self.finish, self.abort))(client)
        for voter in voters:
            voter.join()
        self.judge(other, [side.plain(vote) for side, vote in zip(self.sides, votes)])

    @staticmethod
    def is_waiting(side):
        """Whether a vote waits for the lock."""
        return side.clients[READER]._call("server_status")["waiting"] == 1

    def await_waiting(self, side):
        """Until a vote waits for the lock."""
        common.eventually(lambda: self.is_waiting(side), "a vote that waits for the lock")

    # Steps.

    def step(self):
        # A script that hangs ends, however long it has been at work.
        signal.alarm(common.SCRIPT_LIMIT_S)
        dice = self.rng.random()
        for share, kind in ((0.40, self.question), (0.45, self.read_with_the_cache), (0.46, self.iterate), (0.47, self.iterate_a_part),
                            (0.50, self.invalidations_since), (0.52, self.status), (0.53, self.read_only),
                            (0.54, self.pack)):
            if dice < share:
                return kind()
        return self.move_on(self.rng.choice(WRITERS))

    def move_on(self, client):
        """The client's transaction comes a phase further."""
        txn = self.open.get(client)
        if txn is None:
            self.begin(client)
        elif self.rng.random() < 0.08 or self.is_behind(txn):
            # Python's <blobstorage> removes the blobs of a voted transaction when another one is aborted.
            if self.kind.name != "wrapped" or txn.has_voted or not self.is_locked():
                self.abort(client)
        elif txn.has_voted:
            is_waited_for = self.rng.random() < 0.1
            (self.wait_for_the_lock if is_waited_for else self.finish)(client)
        elif not self.is_locked():
            self.vote(client)

    def is_locked(self):
        """Somebody has voted."""
        return any(txn.has_voted for txn in self.open.values())

    def is_behind(self, txn):
        """Its tid was given, and others have committed since; such a commit makes the file unusable on Python's server,
        and ours refuses it."""
        return bool(txn.begin) and txn.begin[0].number != self.story.count - 1

    def question(self):
        method, arguments = self.story.question()
        self.ask(self.rng.randrange(CLIENTS), "_call", method, *arguments)

    def read_with_the_cache(self):
        client, oid = self.rng.choice(WRITERS), self.story.oid()
        if p64(oid) not in self.exceptions.stale:
            self.ask(client, "load", p64(oid))
        known = self.story.revisions.get(oid)
        if oid in BLOBS and known:
            self.load_blob(client, p64(oid), At(self.rng.choice(known)))

    def load_blob(self, client, oid, serial):
        """The content of a blob, from the server."""
        contents = []
        for side in self.sides:
            cached = side.clients[client].fshelper.getBlobFilename(oid, side.resolve(serial))
            if os.path.exists(cached):
                os.unlink(cached)
            content = side.answer(client, "loadBlob", oid, serial)
            if not isinstance(content, Raised):
                with open(cached, "rb") as file:
                    content = file.read()
            contents.append(content)
        self.note(client, "loadBlob", oid, serial)
        has_record = not isinstance(self.ask(client, "_call", "loadSerial", oid, serial), Raised)
        if not self.exceptions.is_blob_excused(*contents, has_record):
            self.compare(*contents, "loadBlob %r %r" % (oid, serial))
        self.counts["loadBlob"] += 1

    def iterate_a_part(self):
        """From and to everywhere."""
        if self.story.count:
            self.iterate(*(self.rng.choice((None, At(self.story.commit(), self.rng.choice((-1, 0, 0, 1)))))
                           for _ in range(2)))

    def iterate(self, *bounds):
        """All transactions, and all current records."""
        bounds = bounds or (None, None)
        self.note("iterator", bounds)
        found = [side.transactions(*bounds) for side in self.sides]
        self.compare(*found, "iterator %r" % (bounds,))
        if not isinstance(found[0], Raised):
            self.records = [record for *_, records in found[0] for record in records]
            # A blob's record is of no use without its blob.
            self.story.records = [record for record in self.records if u64(record[0]) not in BLOBS]
        self.compare(*(side.current_records() for side in self.sides), "record_iternext")

    def invalidations_since(self):
        if not self.story.count:
            return
        since = At(max(0, self.story.count - self.rng.randrange(1, 30)), self.rng.choice((0, 0, 1, -1)))
        self.note("getInvalidations", since)
        answers = [side.answer(READER, "_call", "getInvalidations", since) for side in self.sides]
        # The iteration includes its start.
        changed = {record[0] for *_, records in self.sides[1].transactions(since._replace(offset=since.offset + 1), None)
                   for record in records}
        excused = self.exceptions.is_proof_excused(*answers, since, changed, At(self.story.count - 1))
        if not excused:
            self.compare(*self.exceptions.changed_since(*answers, since), "getInvalidations %r" % (since,))

    def status(self):
        """The numbers that do not depend on time."""
        # One-way calls have been handled when the answer to a later call is there.
        for client in range(CLIENTS):
            self.ask(client, "ping")
        self.note("server_status")
        shown = []
        for side in self.sides:
            status = side.clients[READER]._call("server_status")
            for key in "start", "lock_time":
                status[key] = type(status[key])
            shown.append(status)
        self.exceptions.status(*shown)
        self.compare(*(side.plain(status) for side, status in zip(self.sides, shown)), "server_status")

    def read_only(self):
        for call in (("new_oids",), ("tpc_begin", 1, b"", b"", {}), ("tpc_finish", 1), ("vote", 1)):
            self.ask(READER, "_call", *call)

    def is_complete(self):
        """Whether the root is there, and all that any record refers to."""
        oids = {z64}
        for *_, records in self.sides[1].transactions(None, None):
            for _, _, data, _ in records:
                oids.update(referencesf(data) if data else ())
        return not any(isinstance(self.ask(0, "getTid", oid), Raised) for oid in sorted(oids))

    def pack(self):
        """Up to a moment between two commits, or at one, that is the same for both."""
        if self.open or not self.story.count or not self.kind.packs:
            return
        number, between = self.story.commit(), self.rng.choice((0, 0.5))
        whens = [side.moment(number, between) for side in self.sides]
        ours, theirs = (side.commits_before(when) for side, when in zip(self.sides, whens))
        if ours != theirs or self.exceptions.is_pack_excused(self.sides[1], whens[1], self.is_complete()):
            return
        self.note("pack", ours)
        answers = (side.answer(0, "pack", when) for side, when in zip(self.sides, whens))
        self.compare(*answers, "pack %r" % (ours,))
        self.counts["packs"] += 1
        self.exceptions.has_packed = True
        # Nobody is told of garbage that is gone: who has it in a cache goes on with it, on both servers.
        self.exceptions.stale |= {p64(oid) for oid in [*range(OBJECTS), *BLOBS]
                                  if isinstance(self.ask(0, "getTid", p64(oid)), Raised)}
        self.listen()
        self.iterate()
