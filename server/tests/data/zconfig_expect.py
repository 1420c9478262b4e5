"""What Python makes of the configurations and values that the Rust tests use.

Writes zconfig/expected.json. Run it with ZConfig 4.3, ZEO 6.2 and ZODB 6.4, whose answers are the truth:

    python server/tests/data/zconfig_expect.py

* zconfig/syntax/*.conf are read with ZConfig's parser and no schema: the tree, or that it is refused.
* zconfig/schema/*.conf are read with ZEO's schema: the resulting options, or that it is refused.
* The values below are converted by ZConfig's data types.
* The formats below are followed by Python's logging and time modules, files rotate by its clock, and its handler for
  syslog sends events.

Files whose name begins with an underscore are there to be included only.
"""
import json
import logging
import os
import pathlib
import socket
import tempfile
import time
import types
from logging import handlers

HERE = pathlib.Path(__file__).parent / 'zconfig'
ENVIRONMENT = {'HOME': '/', 'ZEO_TEST': 'from env', 'Zeo_Test': 'other case', 'ZEO_EMPTY': '', 'TZ': 'UTC'}
os.environ.update(ENVIRONMENT)
os.environ.pop('ZEO_MSGPACK', None)
os.environ.pop('INSTANCE_HOME', None)
os.environ.pop('ZEO_UNSET', None)
time.tzset()
os.chdir(HERE)

import ZConfig  # noqa: E402
import ZConfig.cfgparser  # noqa: E402
import ZConfig.datatypes  # noqa: E402
import ZConfig.loader  # noqa: E402
import ZEO  # noqa: E402
import ZEO.ClientStorage  # noqa: E402
import ZEO.zconfig  # noqa: E402
import ZODB.blob  # noqa: E402
import ZODB.DemoStorage  # noqa: E402
import ZODB.FileStorage  # noqa: E402
import ZODB.MappingStorage  # noqa: E402
from ZConfig.components.logger import datatypes as logger_datatypes  # noqa: E402
from ZConfig.components.logger import formatter  # noqa: E402
from ZConfig.components.logger import handlers as logger_handlers  # noqa: E402
from ZConfig.components.logger import loghandler  # noqa: E402
import ZODB.loglevels  # noqa: E402, F401
from ZEO.runzeo import ZEOOptions  # noqa: E402


class Tree:
    def __init__(self, kind='', name=None):
        self.kind, self.name, self.items = kind, name, []

    def addValue(self, key, value, position):
        self.items.append({'key': key, 'value': value, 'line': position[0]})

    def as_json(self):
        items = [item if isinstance(item, dict) else item.as_json() for item in self.items]
        return {'kind': self.kind, 'name': self.name, 'items': items}


class Recorder(ZConfig.loader.ConfigLoader):
    """ZConfig's loader, with trees in place of what a schema would make."""

    def __init__(self):
        self.imports = []

    def startSection(self, parent, type_, name):
        return Tree(type_, name)

    def endSection(self, parent, type_, name, section):
        parent.items.append(section)

    def importSchemaComponent(self, pkgname):
        self.imports.append(pkgname)

    def load(self, path):
        top = Tree()
        with self.openResource(self.normalizeURL(str(path))) as resource:
            self._parse_resource(top, resource)
        return {'tree': top.as_json(), 'imports': self.imports}


def attempt(function, *arguments):
    try:
        return {'ok': function(*arguments)}
    except (ValueError, ZConfig.ConfigurationError, NotImplementedError, RecursionError,
            TypeError, KeyError, OSError, ImportError, AttributeError) as error:
        return {'refused': str(error).replace(str(HERE), '.').split('\n')[0]}


class Refused(ValueError):
    pass


class Options(ZEOOptions):
    logsectionname = None  # do not open log files

    def usage(self, message):
        raise Refused(str(message))


# Storages and TLS contexts are not opened: these take the places of their classes, and say what they were given.
def file_storage(path, packer=None, **options):
    return dict(options, kind='FileStorage', path=path)


def mapping_storage(name):
    return {'kind': 'MappingStorage', 'name': name}


def blob_storage(blob_dir, base):
    return {'kind': 'BlobStorage', 'blob_dir': blob_dir, 'base': base}


def demo_storage(name, base, changes):
    return {'kind': 'DemoStorage', 'name': name, 'base': base, 'changes': changes}


def client_storage(addresses, **options):
    return {'kind': 'ClientStorage'}


def ssl_config(section, server):
    return {key: getattr(section, key) for key in ['certificate', 'key', 'authenticate']}


ZODB.FileStorage.FileStorage = file_storage
ZODB.MappingStorage.MappingStorage = mapping_storage
ZODB.blob.BlobStorage = blob_storage
ZODB.DemoStorage.DemoStorage = demo_storage
ZEO.ClientStorage.ClientStorage = client_storage
ZEO.zconfig.ssl_config = ssl_config

LOG_KEYS = ['path', 'level', 'old_files', 'max_size', 'when', 'interval', 'delay', 'facility']


def describe_handler(section):
    result = {key: getattr(section, key) for key in LOG_KEYS if hasattr(section, key)}
    result['kind'] = section.getSectionType()
    if result['kind'] == 'syslog':
        address = section.address.address
        result['address'] = address if isinstance(address, str) else {'host': address[0], 'port': address[1]}
    return result


def load_with_schema(path):
    options = Options()
    options.realize(['-C', str(path)], 'runzeo')
    address = options.address
    result = {key: getattr(options, key) for key in [
        'read_only', 'invalidation_queue_size', 'invalidation_age', 'transaction_timeout',
        'client_conflict_resolution', 'pid_file', 'ssl']}
    result['address'] = address if isinstance(address, str) else {'host': address[0], 'port': address[1]}
    result['msgpack'] = bool(options.msgpack) if isinstance(options.msgpack, bool) else bool(
        os.environ.get('ZEO_MSGPACK'))
    result['storages'] = [
        {'name': storage.name, 'opener': type(storage).__name__,
         'opened': storage.open()}
        for storage in options.storages]
    eventlog = options.configroot.eventlog
    result['eventlog'] = None if eventlog is None else {
        'level': eventlog.level,
        'handlers': [describe_handler(handler.section) for handler in eventlog.handler_factories]}
    return result


BLANKS = [' yes', 'yes ', '\tno\n']
VALUES = {
    'boolean': ['yes', 'YES', 'True', 'true', 'on', 'On', 'no', 'False', 'OFF', 'off', '1', '0', 'y', 'n',
                't', '', 'ja', *BLANKS],
    'integer': ['0', '1', '-1', '+5', '007', ' 12 ', '\t3\n', '1_000', '1__0', '_1', '1_', '', ' ', '1.0',
                '0x10', '1e3', '- 1', '--1', '9223372036854775807', '-9223372036854775808', 'one'],
    'float': ['0', '1', '-1.5', '.5', '5.', '1e3', '1E-3', ' 2.5 ', '1_000.5', '1_.5', 'inf', '-inf', 'Infinity',
              'nan', '', '.', 'e5', '1e', '1,5', '0x1p3', 'infinit'],
    'byte-size': ['0', '1', '1024', '1KB', '1kb', '1Kb', '2MB', '3gb', '1 KB', ' 1KB', '1KB ', '-1KB', 'KB', '',
                  '1K', '1B', '1.5MB', '1TB', '1kbkb', '1_0KB'],
    'time-interval': ['0', '30', '30s', '2m', '3H', '1d', '1 d', '-1s', 's', '', '1w', '1h30m', '1h 30m', '1.5h',
                      '5ms', '1D'],
    'basic-key': ['a', 'A', 'Read-Only', 'read_only', 'a.b', 'a1', '1a', '-a', '_a', '', 'a b', 'a/b', 'ä'],
    'socket-binding-address': [
        '8100', ':8100', '0', ':0', '65535', '65536', ':65536', '-1', ':-1', 'localhost', 'localhost:',
        'LocalHost:8100', 'zeo.example.com:8090', '127.0.0.1:8100', 'localhost: 8100', 'localhost:8100 ',
        'localhost :8100', ' :8100', '*:8100', '[::1]:8100', '[::]:8100', '::1', '::', '::1:8100', '[::1]',
        '[::1]:', '[]:1', '[FE80::1]:80', 'a:b', 'a:b:1', 'a:', ':', '', ' ', 'two words', 'a b:1', '1:2',
        '/tmp/sock', './sock', 'sock', 'dir/sock:8100', '~/sock', '8_100', '+80', 'localhost:0x50', 'localhost:80.0'],
    'existing-dirpath': ['name', './name', 'syntax/name', 'nosuch/name', '/name', '~/name', '~', '', 'syntax/',
                         'nosuch/', '/nosuch/name', '..', '../name'],
    'logging-level': ['critical', 'FATAL', 'Error', 'warn', 'warning', 'info', 'INFO', 'blather', 'debug', 'trace',
                      'all', 'notset', '0', '1', '15', '50', '51', '-1', ' 20 ', '', 'verbose', '1.5'],
}

FORMATS = {
    'classic': [
        '%(message)s', '%(asctime)s %(message)s', r'%(levelname)s\t%(name)s\n%(message)s', '[%(levelname)-8s]',
        '[%(levelname)10s] 100%%', '[%(levelname).2s]', '[%(lineno)05d] [%(lineno)5d] [%(lineno)-5d] %(lineno)s',
        '%(msecs)03d %(created)d', '%(levelno)s %(levelno)02d', '%(filename)s %(module)s %(pathname)s %(lineno)d',
        r'C:\dir\new \\n \q \r\b\f', 'no fields', '', '%', '%s', '%(message)', '%(nosuch)s', '%(levelname)d',
        '%(message', '%q', '%(message)q', '%()s', 'ä %(message)s', '%(processName)s', '%(msecs)f', '%(msecs).1f',
        '%(created)s', '%(created).2f', '[%(created)20s]', '[%(msecs)-8s]', '[%(message)020s]', '[%(msecs)09.2f]',
        '%(relativeCreated)d %(relativeCreated)s', '%(lineno)f %(lineno).1f', '{message} %(message)s', '{message}',
    ],
    'format': [
        '{message}', '{asctime} {levelname:<8}|{levelname:>8}|{levelname:^8}|{levelname:8}|', r'{name}\t{message}\n',
        '{levelname:*^9} {levelname:08} {levelname:.2} {levelname:.2s} {levelname!s:>6}', '{{{message}}}', '{{message}}',
        '{lineno} {lineno:5} {lineno:05} {lineno:<5d}| {lineno:^5}| {lineno:=5} {lineno:x>5} {lineno:.1f}',
        '{msecs} {msecs:03.0f} {msecs:8.2f} {msecs:f} {created:.3f} {relativeCreated:.0f}', '{msecs:d}', '{lineno:s}',
        '{levelname:d}', '{levelname:=8}', '{lineno:.2}', '{lineno:.2d}', '{message:.}', '{}', '{0}', '{', '}', '{message',
        '{message!s}', '{message!q}', '{nosuch}', '{ message}', '{message:>3', 'plain', '', 'ä {message} %(message)s $message',
        '{lineno!s:.1}', '{lineno!s:3}|', '{levelno:02d}', '{}}',
    ],
    'template': [
        '$message', '${message}', '${asctime} $levelname: $message', r'$name\t$message\n', '$$ $$$message', '$', '$ message',
        '${message', '$nosuch', '${nosuch}', '${}', '$1', '$message2', '${message}2', '$lineno $msecs $created', 'plain', '',
        '$Message', 'ä$messageä', '$_', '{message} %(message)s $message', '$message$', '${ message}',
    ],
    'safe-template': [
        '$message', '${message}', '$asctime $levelname: $message', '$$ $$$message', '$', '$ message', '${message', '$nosuch',
        '${nosuch}', '${}', '$1', '$message2', '$lineno $msecs', 'plain', '$message$', r'$nosuch\n$message',
    ],
}
DATES = [
    '%Y-%m-%dT%H:%M:%S', '%Y-%m-%d %H:%M:%S', '%d/%b/%Y:%H:%M:%S %z', '%a %A %b %B %h', '%I:%M %p', '%j %U %W %u %w %V %G %g',
    '%y %C %e|%k|%l', '%s', '%F %T %D %R', '%c', '%x', '%X', '%r', '%n%t%%', 'plain', '%Z', 'ä %Y', '%P',
]
TIMES = [0, 951826153, 1234567890, 1767225599, 1790000000, 1801490400]


def follow_format(style, text):
    """Format an event as a logfile with this format does, after ZConfig's own check of the format."""
    text = formatter.escaped_string(text)

    class Section:
        format, dateformat, arbitrary_fields = text, '%Y-%m-%dT%H:%M:%S', False
        formatter = None
    Section.style = style
    factory = formatter.FormatterFactory(Section)
    record = logging.LogRecord('ZEO.runzeo', logging.INFO, 'server/src/some.file.rs', 42, 'the message', (), None)
    record.created, record.msecs, record.relativeCreated = 1234567890.25, 250.0, 1500.5
    return factory().format(record)


# The zone of the files that rotate: summer time from March to October, of no particular place.
ZONE = 'CET-1CEST,M3.5.0,M10.5.0/3'
ROTATIONS = [
    ('S', 1), ('s', 30), ('M', 1), ('m', 90), ('H', 1), ('h', 6), ('D', 1), ('d', 3), ('midnight', 1), ('MIDNIGHT', 1),
    ('W0', 1), ('w1', 1), ('W2', 1), ('W3', 1), ('W4', 1), ('W5', 1), ('W6', 1),
]
# When a file was last written to: days without a change of the clocks, in winter and in summer, and a midnight.
WRITTEN = [1234567890, 1768000000, 1790000000, 1790028000, 1790028000 - 1]


def rotate(when, interval, written):
    """When a file that was written to then comes to its end, what it is called afterwards, and when the next one ends."""
    now = written
    handlers.time = types.SimpleNamespace(time=lambda: now, localtime=time.localtime, strftime=time.strftime)
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / 'zeo.log'
        path.write_text('old')
        os.utime(path, (written, written))
        handler = loghandler.TimedRotatingFileHandler(str(path), when=when, interval=interval, backupCount=9)
        end = now = handler.rolloverAt
        handler.emit(logging.LogRecord('ZEO', logging.INFO, '', 1, 'new', (), None))
        handler.close()
        old, = (name for name in os.listdir(directory) if name != 'zeo.log')
        return {'end': end, 'old': old, 'next': handler.rolloverAt}


SYSLOG_LEVELS = [5, 10, 15, 20, 30, 40, 50]


def syslog(facility):
    """What a daemon receives for an event of each level."""
    with tempfile.TemporaryDirectory() as directory:
        address = os.path.join(directory, 'log')
        daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        daemon.bind(address)

        class Section:
            format, dateformat, arbitrary_fields = '%(name)s %(message)s', '%Y-%m-%dT%H:%M:%S', False
            formatter, style, level = None, 'classic', 0
        Section.facility, Section.address = facility, ZConfig.datatypes.SocketAddress(address)
        handler = logger_handlers.SyslogHandlerFactory(Section)()
        for level in SYSLOG_LEVELS:
            handler.emit(logging.LogRecord('ZEO.runzeo', level, '', 1, 'event ä', (), None))
        handler.close()
        with daemon:
            return [daemon.recv(1000).decode() for level in SYSLOG_LEVELS]


def convert(name, value):
    if name == 'logging-level':
        return logger_datatypes.logging_level(value)
    result = ZConfig.datatypes.stock_datatypes[name](value)
    if name == 'socket-binding-address':
        if isinstance(result.address, str):
            return result.address
        return {'host': result.address[0], 'port': result.address[1]}
    return repr(result) if name == 'float' else result


def main():
    def each(directory, function):
        files = sorted(path for path in (HERE / directory).glob('*.conf') if path.name[0] != '_')
        return {path.stem: attempt(function, path.relative_to(HERE)) for path in files}

    expected = {
        'environment': ENVIRONMENT,
        'syntax': each('syntax', lambda path: Recorder().load(path)),
        'schema': each('schema', load_with_schema),
        'values': {name: {value: attempt(convert, name, value) for value in values}
                   for name, values in VALUES.items()},
        'formats': {style: {text: attempt(follow_format, style, text) for text in texts}
                    for style, texts in FORMATS.items()},
        'syslog': {facility: attempt(syslog, facility) for facility in logger_handlers._syslog_facilities},
        'dates': {text: {str(when): time.strftime(text, time.localtime(when)) for when in TIMES}
                  for text in DATES},
    }
    os.environ['TZ'] = ZONE
    time.tzset()
    expected['zone'] = ZONE
    expected['rotations'] = [
        dict(rotate(when, interval, written), when=when, interval=interval, written=written)
        for when, interval in ROTATIONS for written in WRITTEN]
    with open(HERE / 'expected.json', 'w') as file:
        json.dump(expected, file, indent=1, sort_keys=True, ensure_ascii=False)
        file.write('\n')


if __name__ == '__main__':
    main()
