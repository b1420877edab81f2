"""OpenWhisk's nouns as frozen values: names, parameters, actions, triggers, rules, activations.

Pure: no clock, no files, no sockets. Everything here is valid from construction; `from_json` of a
request body raises `MalformedContent` with OpenWhisk's text.
"""
