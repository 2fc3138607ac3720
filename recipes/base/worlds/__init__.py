"""Lessons for a base model of many worlds, by world: exploring play, questions, requests.

No conversation was played by an expert. An explorer has the experts' phrases, as an instruct model
has everybody's, but says them about whatever it happens to do.
"""
