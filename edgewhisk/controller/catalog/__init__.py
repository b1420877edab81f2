"""OpenWhisk's catalog: packages of `whisk.system` in JavaScript, a folder and a table each."""
