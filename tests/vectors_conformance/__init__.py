"""`make conformance`: every row of an index of real evidence, its facts and its verdict."""
