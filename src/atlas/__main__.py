"""`python -m atlas`: the command line, for launchers that start modules (torchrun, accelerate)."""

from atlas.cli import main

main()
