"""Open the storage of a configuration file, and say what became of it."""
import common
import ZODB.config


def main():
    args = common.arguments(__doc__, "file")
    with open(args.file) as file:
        storage = ZODB.config.storageFromFile(file)
    try:
        if hasattr(storage, "server_sync"):
            own = {"server_sync": bool(storage.server_sync), "wait_timeout": storage._server.timeout}
        else:  # ZEO 4
            manager = storage._rpc_mgr
            own = {"polls": [manager.tmin, manager.tmax]}
        common.step(
            "opened",
            addresses=["%s:%s" % address for address in storage._addr],
            storage=storage._storage,
            shown=storage.__name__,
            cache_size=storage._cache.maxsize,
            cache_path=storage._cache.path,
            blob_dir=storage.blob_dir,
            shared=bool(storage.shared_blob_dir),
            blob_cache_size=storage._blob_cache_size,
            blob_cache_check=storage._blob_cache_size_check,
            read_only=bool(storage.isReadOnly()),
            label=storage._client_label,
            **own
        )
    finally:
        storage.close()
    common.succeed()


if __name__ == "__main__":
    main()
