"""Copy a file with a past to the server, as `copyTransactionsFrom` does."""
import common
from history import transactions
from ZODB.FileStorage import FileStorage


def main():
    args = common.arguments(__doc__, "source", "twin")
    source = FileStorage(args.source, read_only=True)
    with common.storage_of(args) as served:
        served.copyTransactionsFrom(source)
        expected = transactions(source)
        common.equal(transactions(served), expected, "what was copied")
        common.equal(served._call("lastTransaction"), source.lastTransaction(),
                     "last transaction")
    twin = FileStorage(args.twin)
    twin.copyTransactionsFrom(source)
    twin.close()
    source.close()
    common.succeed(transactions=len(expected))


if __name__ == "__main__":
    main()
