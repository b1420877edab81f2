"""The user's files as modules: a finder over what the archive holds."""

import importlib.abc
import importlib.machinery
import linecache
import sys
import types

MAIN = "main__"  # so is `__main__.py` renamed there, and nothing below `if __name__ == "__main__"` runs
_VIRTUAL = "site-packages/"  # of a virtualenv that was packed: its packages are found as well


class Files(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports from the archive."""

    files = None  # path -> bytes, set by `load`

    def find_spec(self, name, path=None, target=None):
        """The spec of one of the user's modules or packages."""
        file = _find(name)
        if file is None:
            return None
        is_package = file == "" or file.endswith("/__init__.py")
        spec = importlib.machinery.ModuleSpec(name, self, origin=file or None, is_package=is_package)
        spec.has_location = bool(file)
        return spec

    def get_source(self, name):
        """Its text."""
        return self.files[_find(name)].decode()

    def get_code(self, name):
        """Its code; a folder without `__init__` has none."""
        file = _find(name)
        return compiled(file) if file else compile("", name, "exec")

    def exec_module(self, module):
        """Run its code."""
        module.__file__ = _find(module.__name__) or None
        exec(self.get_code(module.__name__), module.__dict__)

    def get_resource_reader(self, name):
        """importlib.resources over the files beside a package's modules."""
        from importlib.resources.readers import FileReader

        return FileReader(types.SimpleNamespace(path=f"{name.replace('.', '/')}/__init__.py"))

    def get_data(self, path):
        """Bytes of a file of the archive, for pkgutil.get_data."""
        for candidate in (path, path.lstrip("/")):
            if candidate in self.files:
                return self.files[candidate]
        raise FileNotFoundError(path)


_finder = Files()


def give(files):
    """Have imports find these files."""
    Files.files = {_short(path): data for path, data in files.items()}
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def run(code, entry):
    """Run the entry file's code as the module that OpenWhisk makes of it; its globals."""
    module = types.ModuleType(MAIN)
    module.__file__ = entry
    sys.modules[MAIN] = sys.modules["__main__"] = module
    exec(code, module.__dict__)
    return module.__dict__


def forget():
    """Undo `give` and `run`, before the image is taken."""
    Files.files = {}
    sys.modules.pop("__main__", None)
    sys.modules.pop(MAIN, None)
    linecache.cache.clear()


def compiled(file):
    """The code of a file; raises `SyntaxError`, `ValueError`."""
    source = Files.files[file].decode()
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    return compile(source, file, "exec", dont_inherit=True)


def _find(name):
    """The file of a module; "" for a folder without `__init__`; None if there is none."""
    path = name.replace(".", "/")
    for file in (f"{path}/__init__.py", f"{path}.py"):
        if file in Files.files:
            return file
    return "" if any(file.startswith(f"{path}/") for file in Files.files) else None


def _short(path):
    """`virtualenv/lib/python3.11/site-packages/x.py` is `x.py`."""
    if path.startswith("virtualenv/") and _VIRTUAL in path:
        return path.split(_VIRTUAL, 1)[1]
    return path
