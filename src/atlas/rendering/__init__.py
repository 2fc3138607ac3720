"""Converts messages for chat templates and servers, and text to tokens with their steps."""
