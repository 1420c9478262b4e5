"""What may differ between our server and Python's, each with its reason. Everything else must be equal."""
import collections
import os
import re

from differential_sides import Raised, UndoId
from differential_story import MERGEABLE, class_of
from mended_pack import packed
from ZODB.utils import u64


class Exceptions:
    """Decides what is excused, and counts it."""

    def __init__(self, kind, clients_resolve):
        self.kind = kind
        # Both servers hand conflicts to the clients, by `client-conflict-resolution`.
        self.clients_resolve = clients_resolve
        # `client-conflict-resolution` has no effect on the storages in a demo storage.
        self.merges_undo = not clients_resolve or kind.name == "demo"
        self.counts = collections.Counter()
        # Commits that may have an object twice.
        self.doubled = set()
        # Votes that were refused, excused, or told of an object.
        self.uneven_votes = 0
        self.is_connected_again = False
        self.has_packed = False
        # For each commit the objects that it deleted or restored.
        self.quiet = {}
        # Objects of which a client may have an old copy in its cache, untold.
        self.stale = set()

    def committed(self, number, quiet, announced, operations):
        """Which objects Python's server has told of, and which it has not; and what was done."""
        oids = [oid for _, oid in operations]
        is_twice = any(oid is not None and oids.count(oid) > 1 for oid in oids)
        if undone(operations) and len(operations) > 1 or any(each in self.doubled for each in undone(operations)):
            is_twice = True
        if is_twice:
            self.doubled.add(number)
        self.quiet[number] = quiet
        self.stale |= quiet
        self.stale -= announced

    def is_vote_excused(self, *vote):
        """Our server's vote, Python's, and what the transaction did."""
        return (self.is_undo_excused(*vote) or self.is_conflict_excused(*vote) or self.is_restore_excused(*vote)
                or self.is_merge_excused(*vote) or self.is_lost_blob_excused(*vote))

    def is_undo_excused(self, ours, theirs, operations):
        """Python's server merges two states of an object with the code of its class where it can import that. Ours
        has no Python, and refuses such an undo: where Python's does not, and of several where Python's goes on."""
        undo_count = sum(name == "undo" for (name, _), _ in operations)
        if not self.merges_undo or not undo_count or not is_refused_undo(ours):
            return False
        refused = set(theirs.detail) if is_refused_undo(theirs) else set()
        more = set(ours.detail) - refused
        if not more or undo_count == 1 and refused - set(ours.detail):
            return False
        if any(class_of(u64(oid)) not in MERGEABLE for oid, _ in more):
            return False
        self.counts["undo that merges"] += 1
        return True

    def is_conflict_excused(self, ours, theirs, operations):
        """Of several failures ours tells the client the conflicts first, which it may resolve or repeat. With
        `client-conflict-resolution` Python's server tells another error first, and so it does without where it has
        merged by itself the conflict that came before."""
        if not isinstance(theirs, Raised) or not isinstance(ours, Raised):
            return False
        stored = [arguments[0] for (name, arguments), _ in operations if name in ("store", "storeBlob")]
        if not self.clients_resolve and not any(class_of(u64(oid)) in MERGEABLE for oid in stored):
            return False
        if len(operations) < 2 or ours.name != "ConflictError" or dict(ours.detail)["oid"] not in stored:
            return False
        self.counts["conflict before another error"] += 1
        return True

    def is_commit_excused(self, told, operations):
        """Both are for it, and yet would not write the same. What a client merges is the last record of its transaction;
        what Python's server merges is in its place. Where Python's server hands a conflict to the client, it has
        forgotten the blobs of the transaction when it is asked again. And of a transaction that has an object twice
        it undoes both records, if it can merge the first with what is there, before it comes to the second."""
        stored = {oid for (name, _), oid in operations if name in ("store", "storeBlob")}
        is_excused = False
        if any(u64(oid) in stored for oid in told):
            has_blobs = any(name == "storeBlob" for (name, _), _ in operations)
            is_excused = has_blobs if self.clients_resolve else len(operations) > 1
        if self.merges_undo and any(number in self.doubled for number in undone(operations)):
            is_excused = True
        self.counts["merged beside others"] += is_excused
        return is_excused

    def announced(self, ours, theirs, quiet):
        """Ours tells of deleted and restored objects, too, so that nobody keeps them in a cache."""
        if len(ours) != len(theirs):
            return ours
        shown = []
        for mine, other in zip(ours, theirs):
            if "everything" not in (mine, other) and mine[1] != other[1]:
                self.counts["deletion announced"] += 1
                mine = mine[0], mine[1] - (quiet - other[1])
            shown.append(mine)
        return tuple(shown)

    def is_proof_excused(self, ours, theirs, since, changed, last):
        """Ours knows the last transactions of a demo storage's base, too; its answer must be complete. And it proves
        nothing with the emptiness of a storage in memory: a cache may be from before the last start."""
        if theirs is None and self.kind.name == "demo":
            is_excused = ours is None or ours[0] == last and set(ours[1]) >= changed
        else:
            is_excused = ours is None and not self.kind.file and since < (0, 0)
        self.counts["getInvalidations"] += is_excused
        return is_excused

    def is_restore_excused(self, ours, theirs, operations):
        """Where a copied record's data can be found is a hint; Python's server fails if that transaction is gone."""
        hints = [arguments[4] for (name, arguments), _ in operations if name == "restore"]
        if isinstance(ours, Raised) or theirs != Raised("UndoError", (("_reason", "Invalid transaction id"), ("_oid", None))):
            return False
        is_excused = any(hints) and not any(name == "undo" for (name, _), _ in operations)
        self.counts["hint to what is gone"] += is_excused
        return is_excused

    def is_lost_blob_excused(self, ours, theirs, operations):
        """Python's server cannot undo either what its pack has taken the blob from (see below)."""
        is_lost = isinstance(theirs, Raised) and theirs.name == "POSKeyError" and "No blob file" in str(theirs.detail[0])
        is_excused = self.has_packed and is_lost and bool(undone(operations))
        self.counts["blob lost by a pack"] += is_excused
        return is_excused

    def is_merge_excused(self, ours, theirs, operations):
        """Ours hands each conflict to the client; Python's storages in memory know nothing of merging."""
        if not isinstance(theirs, Raised) or theirs.name != "ConflictError" or self.clients_resolve:
            return False
        oid = dict(theirs.detail)["oid"]
        # Another object's conflict, maybe, that it came to after this one.
        is_merged = ours != theirs if isinstance(ours, Raised) else oid in ours
        is_excused = self.kind.name in ("mapping", "wrapped") and class_of(u64(oid)) in MERGEABLE and is_merged
        self.counts["merged in memory"] += is_excused
        return is_excused

    def changed_since(self, ours, theirs, since):
        """The same in the answers to getInvalidations; without order, which has no meaning."""
        if not isinstance(ours, tuple) or not isinstance(theirs, tuple) or isinstance(theirs, Raised):
            return ours, theirs
        last, oids = ours
        quiet = set()
        for number, oids_there in self.quiet.items():
            if number >= since.number:
                quiet |= oids_there
        expected = frozenset(theirs[1])
        return (last, frozenset(oids) - (quiet - expected)), (theirs[0], expected)

    def status(self, ours, theirs):
        """A conflict that is handed to a client counts, and so does what the client does then: it stores, or aborts. On
        Python's server such a vote has failed, and there is nothing to abort any more."""
        for key in "stores", "conflicts", "aborts":
            difference = ours[key] - theirs[key]
            if difference and abs(difference) <= self.uneven_votes:
                self.counts["statistics"] += 1
                ours[key] = theirs[key]
        # A client keeps what it merged itself, drops what it heard to be deleted, and writes over another part of its
        # cache file then; what it has, it does not load.
        if self.uneven_votes or self.stale or self.is_connected_again:
            ours["loads"] = theirs["loads"]

    def is_pack_excused(self, side, when, is_complete):
        """Python's pack fails or loses data on files with certain undos (mended_pack.py); which, it says itself, on a
        copy of its own file. In memory it fails, and loses objects, if something refers to one that is not there:
        unless the database `is_complete`. (`KeyError` in `MappingStorage.py:pack`, ZODB 6.4.)"""
        if self.kind.file:
            file = os.path.join(side.files, self.kind.file)
            copy = file + ".copy"
            try:
                is_complete = packed(file, copy, when, self.kind.with_gc, False) == packed(
                    file, copy, when, self.kind.with_gc, True)
            except Exception:
                is_complete = False
            os.unlink(copy)
        self.counts["pack that Python cannot do"] += not is_complete
        return not is_complete

    def is_blob_excused(self, ours, theirs, has_record):
        """Python's pack removes files whose records stay. Around a mapping storage it leaves each object its newest file
        only, whatever the time of the pack; and of an object that was garbage at that time it removes all files, those
        of later records, too."""
        is_lost = isinstance(theirs, Raised) and not isinstance(ours, Raised) and theirs.name == "POSKeyError"
        is_excused = self.has_packed and is_lost and has_record
        self.counts["blob lost by a pack"] += is_excused
        return is_excused

    def blobs(self, ours, theirs, names):
        """What is left to compare of two blob directories; `names` are those that the records of both have. Beside what
        Python's pack removes, its server leaves files behind: of blobs whose transaction failed in the vote, their tids
        are nobody's, or they are uploads still; uploads whose transaction it handed back to the client; and a list of its
        packs. Ours leaves nothing."""
        left = {name for name in theirs if name not in ours and
                (name == "./.removed" or re.search(r"0x[0-9a-f]{16}\.blob$", name)
                 or name.startswith("tmp/"))}
        lost = {name for name in ours if name not in theirs and name in names and self.has_packed}
        self.counts["blob left behind"] += len(left)
        self.counts["blob lost by a pack"] += len(lost)
        return ({name: content for name, content in ours.items() if name not in lost},
                {name: content for name, content in theirs.items() if name not in left})


def undone(operations):
    """The numbers of the commits that a transaction undoes."""
    return {arguments[0].number for (name, arguments), _ in operations
            if name == "undo" and isinstance(arguments[0], UndoId)}


def is_refused_undo(answer):
    return isinstance(answer, Raised) and answer.name == "MultipleUndoErrors"
