"""Chats of Gemini, and sessions of Gemini CLI."""
