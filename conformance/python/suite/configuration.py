"""The few things that have to be known about a configuration of `runzeo`."""
import re


class Configuration:
    """The text of a configuration, and what it says."""

    def __init__(self, text):
        self.lines = text.split("\n")
        # (section, key, value) of each line that has a key.
        self.keys = {}
        sections = []
        for number, line in enumerate(self.lines):
            words = line.split(None, 1)
            if not words or words[0][0] in "#%":
                continue
            if not words[0].startswith("<"):
                key, value = (words + [""])[:2]
                self.keys[number] = sections[-1], key.lower(), value.strip()
            elif words[0].startswith("</"):
                sections.pop()
            elif not line.rstrip().endswith("/>"):
                sections.append(words[0].strip("<>").lower())
        self.has_tls = any(section == "ssl" for section, _, _
                           in self.keys.values())
        self.address = None

    @property
    def text(self):
        return "\n".join(self.lines)

    @property
    def file_storages(self):
        """The paths of all file storages."""
        return [value for section, key, value in self.keys.values()
                if (section, key) == ("filestorage", "path")]

    def complete(self, free_port, msgpack):
        """Put a port in place of 0, and the framing where nothing is said."""
        number, value = next(
            (number, value) for number, (section, key, value)
            in self.keys.items() if (section, key) == ("zeo", "address"))
        if "/" in value:
            self.address = value
        else:
            host, _, port = value.rpartition(":")
            host = host.strip("[] ") or "127.0.0.1"
            self.address = host, int(port) or free_port(host)
            self.lines[number] = re.sub(r"\d+\s*$", str(self.address[1]),
                                        self.lines[number])
        if msgpack and not any((section, key) == ("zeo", "msgpack") for
                               section, key, _ in self.keys.values()):
            self.lines.insert(number + 1, "msgpack true")
