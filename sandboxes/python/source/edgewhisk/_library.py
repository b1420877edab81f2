"""The standard library, packed: componentize-py keeps only what is imported while it builds.

At build time every module is compiled and kept compressed; a finder brings it when it is imported.
"""

import importlib.abc
import importlib.machinery
import marshal
import os
import sys
import zlib

# No sockets, processes, threads or screens here; tests and build tools have no place in an action.
SKIPPED = {
    "test",
    "idlelib",
    "tkinter",
    "turtledemo",
    "lib2to3",
    "ensurepip",
    "venv",
    "distutils",
    "pydoc_data",
    "__pycache__",
    "multiprocessing",
    "curses",
    "dbm",
    "site-packages",
    "unittest",
    "wsgiref",
    "pyrepl",
    "_pyrepl",
    "lib-dynload",
}
ADVICE = {
    "ssl": "there are no sockets: use edgewhisk.http.fetch, with the http capability",
    "_ssl": "there are no sockets: use edgewhisk.http.fetch, with the http capability",
    "multiprocessing": "there are no processes: invoke another action, with the invoke capability",
    "ctypes": "an action is WebAssembly and cannot load native libraries",
    "_ctypes": "an action is WebAssembly and cannot load native libraries",
    "tkinter": "an action has no screen",
    "curses": "an action has no terminal",
    "requests": "it is not part of Python: pack it into the archive, or use edgewhisk.http.fetch",
}
# Loaded before the image is taken: what actions use most.
POPULAR = (
    "abc",
    "argparse",
    "array",
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "collections.abc",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "fnmatch",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "inspect",
    "io",
    "ipaddress",
    "itertools",
    "json",
    "logging",
    "math",
    "numbers",
    "operator",
    "random",
    "re",
    "secrets",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "time",
    "typing",
    "unicodedata",
    "urllib.parse",
    "uuid",
    "asyncio",
    "encodings.idna",
    "encodings.latin_1",
    "encodings.ascii",
    "encodings.utf_16_le",
    "traceback",
    "zlib",
    "pprint",
)
LEAST = 300  # modules; fewer: the library was not where it was looked for
_packed = {}  # module -> (whether it is a package, file, compressed code)


class Library(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports from what was packed."""

    def find_spec(self, name, path=None, target=None):
        """The spec of a packed module."""
        found = _packed.get(name)
        if found is None:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=found[1], is_package=found[0])

    def create_module(self, spec):
        """The usual one."""
        return

    def exec_module(self, module):
        """Run its code."""
        _, file, code = _packed[module.__name__]
        module.__file__ = file
        exec(marshal.loads(zlib.decompress(code)), module.__dict__)


class Advice(importlib.abc.MetaPathFinder):
    """Says why a module is not here, after everybody else was asked."""

    def find_spec(self, name, path=None, target=None):
        """Never finds; raises for what we know of."""
        if name in ADVICE:
            raise ModuleNotFoundError(f"No module named '{name}': {ADVICE[name]}", name=name)
        return


def pack():
    """Take in the standard library; called once, while the component is built."""
    root = next(folder for folder in sys.path if os.path.exists(os.path.join(folder, "colorsys.py")))
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED]
        for name in sorted(files):
            if name.endswith(".py"):
                _pack(root, os.path.join(folder, name))
    sys.meta_path[:] = [*sys.meta_path, Library(), Advice()]
    if len(_packed) < LEAST:
        raise RuntimeError(f"only {len(_packed)} modules of the standard library were found in {root}")
    for name in POPULAR:
        __import__(name)


def _pack(root, path):
    relative = os.path.relpath(path, root)[:-3].split(os.sep)
    is_package = relative[-1] == "__init__"
    name = ".".join(relative[:-1] if is_package else relative)
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec", optimize=2, dont_inherit=True)
    except (SyntaxError, ValueError, OSError):
        return
    _packed[name] = (is_package, path, zlib.compress(marshal.dumps(code), 9))


def imported(name, files):
    """Whether any of the user's files mentions a module."""
    return any(name.encode() in data for path, data in files.items() if path.endswith(".py"))
