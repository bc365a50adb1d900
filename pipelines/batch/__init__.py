"""Scoring of files of any size, here or in a bucket.

`scoring.score_files` reads (`pipelines.tables`), judges and writes in three threads, in memory that
does not depend on the number of rows. Unfinished output is in a folder of its own (`unfinished`),
with the place in the input up to which it goes, so that a killed run can go on. Output is moved
under its name when it is complete.
"""
