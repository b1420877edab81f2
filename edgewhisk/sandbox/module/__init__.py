"""Actions that are WebAssembly modules themselves, from any language."""
