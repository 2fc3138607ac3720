"""Shared by the selectors that ask a language model: prompts, requests and answers."""
