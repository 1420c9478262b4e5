"""Count up a value in as many commits as the test wants."""
import common


def main():
    args = common.arguments(__doc__, "count")
    with common.database(args) as (db, _), \
            common.connection(db) as (manager, root):
        before = root["value"].value
        for _ in range(int(args.count)):
            root["value"].value += 1
            manager.commit()
        common.succeed(before=before, after=root["value"].value)


if __name__ == "__main__":
    main()
