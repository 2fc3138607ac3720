"""The pages of the viewer: records become frozen views, routes render them."""
