"""The commands: every transaction that changes the store, as plain functions of a connection.

A command reads, decides by the rules and writes. Where its decision depends on the state of a session, it locks the
session's row with its first statement, so that two commands on one session run one after the other also in a database
with many writers. It may run twice, see `Database`.
"""
