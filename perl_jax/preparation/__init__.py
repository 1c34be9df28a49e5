"""Prepares training data as PeRL does, in stages that can each be run alone.

==  ===========  =================================================================================
1   filter       by source, question type, number of images, and whether a rule verifies the answer
2   rephrase     turns open-ended questions into objective ones, with an endpoint
3   deduplicate  drops rows that ask the same about images that look the same
4   difficulty   filters by the mean accuracy of a policy's rollouts
5   order        marks whether the answer depends on the order of the images (``change_needed``)
6   split        separates training and held-out rows, which share no image
==  ===========  =================================================================================

A stage is a module with a configuration and a function from a source's rows to their outcomes
(`stage`). `run` chains the stages; `directory` writes their outcomes.
"""
