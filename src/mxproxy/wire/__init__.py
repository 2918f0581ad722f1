"""
Pure formats: bytes in, values out, and back.

Each module here is one format or one handshake, as a machine that takes bytes and answers
values.  Nothing in this package does I/O, asks a clock or imports Twisted, so that a layer, a
test, a fuzzer and a command-line decoder can all run the same code (tests/wire/test_purity.py
keeps it so).
"""
