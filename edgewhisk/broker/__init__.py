"""The broker in the box: a sans-io core, a thin shell of asyncio, and a store on the log."""
