"""What a file holds that `zeo-serial` has written, as Python reads it: a line
for each transaction, as `conformance/src/serial/journal.rs` has it.
"""
import json

import common
from serial_client import value_of
from ZODB.FileStorage import FileStorage
from ZODB.utils import u64


def main():
    args = common.arguments(__doc__, "file", "to")
    storage = FileStorage(args.file, read_only=True)
    count = 0
    with open(args.to, "w") as file:
        for txn in storage.iterator():
            writes = [dict(oid=u64(record.oid), value=value_of(record.data))
                      for record in txn]
            line = dict(tid=u64(txn.tid), writes=writes)
            file.write(json.dumps(line) + "\n")
            count += 1
    storage.close()
    common.succeed(count=count)


if __name__ == "__main__":
    main()
