"""OpenWhisk for a Raspberry-Pi-class gateway, in one process.

The packages are the stages of the data path, each with a typed value in and out (`entity`):

    bytes -> feed, device -> TriggerEvent -> controller -> ActivationMessage -> invoker -> sandbox
          -> Activation -> buffer -> sync -> cloud

Stages do not import each other: they meet at the Protocols of `spi`, and `daemon` joins them. `api`,
`cli` and `demo` are what people touch.
"""

__version__ = "0.1.0"
