"""Lessons of all worlds for a base model, by world: exploring play, questions, requests.

No conversation was played by an expert. An explorer has the experts' phrases, as an instruct model
has everybody's, but says them about whatever it happens to do.
"""
