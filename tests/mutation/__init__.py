"""
Mutation testing: would the tests notice?

C{python -m tests.mutation} changes one thing at a time in a copy of a module, an operator, a
number, a member of an enumeration, a statement, and runs that module's tests.  A mutant that no
test fails for has survived: either a test is missing, or the change means nothing, and then
C{explained.toml} says why.

cosmic-ray makes the mutants, with a few operators of our own; running one takes a fork of a
process that has everything but mxproxy loaded, as most of a test run's second is imports.
"""
