"""Adversaries in the simulation: they join with tokens of their own, and keep to no rule.

* `plan`: the scenario: who is there with which limits, and which move is played when.
* `member`: a member of a room that speaks frames, and what it gets to know.
* `adversary`: the hostile participants: they come, play their moves, and come again.
* `moves_…`: the moves, each in the table of its module; `moves` is the whole table.
* `answers`: what they answer to the calls of honest participants.
* `forging`: packets and messages that nobody could have meant.
* `honest_side`: what honest participants have to offer to them, and must never see.
"""
