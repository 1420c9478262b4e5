"""Copy the certificates and keys of ZEO's own tests to a directory."""
import os
import shutil

import common
import ZEO.tests

# The password of `serverpw_key.pem`, from `ZEO/tests/testssl.py`.
PASSWORD = "1234"


def main():
    args = common.arguments(__doc__, "directory")
    os.mkdir(args.directory)
    source = os.path.dirname(ZEO.tests.__file__)
    for name in os.listdir(source):
        if name.endswith(".pem"):
            shutil.copy(os.path.join(source, name), args.directory)
    with open(os.path.join(args.directory, "password"), "w") as file:
        file.write(PASSWORD + "\n")
    common.succeed()


if __name__ == "__main__":
    main()
