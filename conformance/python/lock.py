"""Nobody else may open a file that is in use: `--expect locked`, or hold it."""
import common
from ZODB.FileStorage import FileStorage
from zc.lockfile import LockError


def main():
    args = common.arguments(__doc__, "file", "expect")
    if args.expect == "locked":
        with common.raises(LockError, "opening a file in use"):
            FileStorage(args.file)
    else:
        storage = FileStorage(args.file)
        common.step("held")
        common.await_answer("let go")
        storage.close()
    common.succeed()


if __name__ == "__main__":
    main()
