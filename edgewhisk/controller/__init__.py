"""Stage 2: trigger -> rules -> activation messages, and the verbs behind the REST API.

In: `TriggerEvent`s from feeds, requests from the API. Out: `ActivationMessage`s for the invoker.
Pure: `firing`. Shells: one file for each collection of entities; `auth/` is who may do what.
"""
