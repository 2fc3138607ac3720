"""An office with native tool calls: contacts, a calendar, mail and notes, and an expert."""
