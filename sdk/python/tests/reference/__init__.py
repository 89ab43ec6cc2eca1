"""A reference server: the rules of docs/worker-protocol.md in memory, to check workers and vectors against.

It keeps nothing, seals nothing, and is no server for use.
"""
