"""Preparation of training data as PeRL does it, in stages that can each be run again alone.

==  ===========  =================================================================================
1   filter       by source, question type, number of images, and whether a rule verifies the answer
2   rephrase     open-ended questions become objective ones (an endpoint is asked)
3   deduplicate  rows that ask the same of images that look the same
4   difficulty   by the mean accuracy of a policy's rollouts
5   order        would the answer change with the order of the images? ``change_needed``
6   split        training and held-out rows, which share no image
==  ===========  =================================================================================

Each concern is a module of its own: a configuration, and a function from the rows of a source to
what becomes of each (`stage`). `run` chains them; `directory` writes what they say.
"""
