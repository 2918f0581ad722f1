"""
Small things, many times, by pyperf: C{make microbench}.

C{wire.py} is what C{mxproxy.wire} does with bytes; C{path.py} is what a chunk and a connection cost
on their way through a pair of sidecars, in this process.  C{compare.py} prints them beside the
numbers that were committed with the last release (C{benchmarks/results/micro.json}).

The figures are of one process and one core, so they are steadier than those of C{make bench}, and a
change of a few per cent can be seen; what it comes to in a running proxy cannot.
"""
