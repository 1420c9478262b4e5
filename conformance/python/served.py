"""What the server says about a file is what Python says about a copy of it."""
import common
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, oid_repr, p64, tid_repr, u64

# So many questions are on the way at the same time.
BURST = 200
UNKNOWN = p64(2**40)


def answer(function, *arguments):
    """The result, or the exception, in a form that can be compared."""
    try:
        result = function(*arguments)
    except POSKeyError as error:
        return "POSKeyError", error.args
    return tuple(result) if isinstance(result, list) else result


def ask(storage, questions):
    """The server's answers, without the client's cache, many at a time."""
    for start in range(0, len(questions), BURST):
        burst = questions[start:start + BURST]
        futures = [storage._server.call(*question, wait=False)
                   for question in burst]
        # All of them before the first is judged: a failure must not hide in
        # the complaints about replies that nobody waited for.
        yield from zip(burst, [answer(future.result) for future in futures])


def compare(storage, copy, questions):
    """Ask both the same questions."""
    for (method, *arguments), served in ask(storage, questions):
        common.equal(served, answer(getattr(copy, method), *arguments),
                     "%s%r" % (method, tuple(arguments)))
    return len(questions)


def main():
    args = common.arguments(__doc__, "copy")
    copy = FileStorage(args.copy, read_only=True)
    transactions = [(txn.tid, [record.oid for record in txn])
                    for txn in copy.iterator()]
    tids = [tid for tid, _ in transactions]
    oids = sorted({oid for _, some in transactions for oid in some})
    oids.append(UNKNOWN)
    with common.storage_of(args) as storage:
        last = copy.lastTransaction()
        common.equal(storage.lastTransaction(), last, "last transaction")
        common.equal(storage._call("lastTransaction"), last, "last transaction")
        common.equal(len(storage), len(copy), "number of objects")
        common.equal(storage.getSize(), copy.getSize(), "size")

        bounds = {maxtid, p64(0), p64(1)}
        for tid in tids:
            bounds.update((tid, p64(u64(tid) + 1)))
        bounds = sorted(bounds)
        count = compare(storage, copy, [("loadBefore", oid, tid)
                                        for oid in oids for tid in bounds])
        count += compare(storage, copy, [("getTid", oid) for oid in oids])
        count += compare(storage, copy, [
            ("loadSerial", oid, tid) for tid, some in transactions
            for oid in some])

        # Through the client's own way of loading, cache and all.
        for oid in oids:
            common.equal(answer(storage.load, oid), answer(copy.load, oid),
                         "load of " + oid_repr(oid))

        # What has changed since each of the last transactions; the oids of
        # a server's queue have no order.
        for index in range(max(0, len(transactions) - 50), len(transactions)):
            tid, changed = storage._call("getInvalidations", tids[index])
            common.equal(tid, last, "last tid of the invalidations")
            expected = {oid for _, some in transactions[index + 1:]
                        for oid in some}
            common.equal((len(changed), set(changed)), (len(expected), expected),
                         "invalidations after " + tid_repr(tids[index]))
        common.equal(storage._call("getInvalidations", tids[0]), None,
                     "invalidations beyond the queue")

        greatest = max(u64(oid) for oid in oids if oid != UNKNOWN)
        fresh = storage._call("new_oids")
        first = greatest + 1
        if args.our_server:
            # Above all that an earlier server can have handed out.
            first = u64(fresh[0])
            if first <= greatest:
                raise AssertionError("%x is not new" % first)
        common.equal(list(fresh), [p64(first + n) for n in range(100)],
                     "new oids")
    copy.close()
    common.succeed(questions=count, transactions=len(tids))


if __name__ == "__main__":
    main()
