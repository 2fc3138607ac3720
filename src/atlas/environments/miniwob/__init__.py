"""MiniWoB++ as text: small web pages in a local browser, without a network, and an expert."""
