"""The chat of chatter.rs, for Python: python chatter.py 127.0.0.1:8100 NAME

Lines of the input are posted, and everybody's are printed, each once and in
the same order. It ends with its input.
"""
import sys
import threading

import transaction
import ZEO
from persistent.list import PersistentList


def attempt(db, function):
    """What `function` makes of the chat, in a transaction of its own.

    It is run again until it is committed: somebody may be faster, or the
    server be away for a moment.
    """
    manager = transaction.TransactionManager()
    connection = db.open(manager)

    def run():
        root = connection.root()
        if "chat" not in root:
            # Whoever comes first.
            root["chat"] = PersistentList()
        return function(root["chat"])

    try:
        return manager.run(run, tries=sys.maxsize)
    finally:
        manager.abort()
        connection.close()


def post(db, name, text):
    """Post a message."""
    before = None

    def post_once(chat):
        nonlocal before
        # Nobody else has this name. If there are more than at first, then a
        # commit whose answer was lost went through.
        count = sum(by == name for by, _ in chat)
        if before is None:
            before = count
        if count == before:
            chat.append((name, text))

    attempt(db, post_once)


def print_all(db, is_over):
    """Print the messages that are there, and those that come."""
    printed = 0
    while not is_over.wait(0.02):
        messages = attempt(db, lambda chat: list(chat)[printed:])
        for name, text in messages:
            print("%s: %s" % (name, text), flush=True)
        printed += len(messages)


def main():
    address, name = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    db = ZEO.DB((host, int(port)))
    is_over = threading.Event()
    printer = threading.Thread(target=print_all, args=(db, is_over))
    printer.start()
    for line in sys.stdin:
        post(db, name, line.rstrip("\n"))
    is_over.set()
    printer.join()
    db.close()


if __name__ == "__main__":
    main()
