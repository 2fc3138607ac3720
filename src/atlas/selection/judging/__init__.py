"""What the selectors that ask a language model share: the questions, the asking, the answers."""
