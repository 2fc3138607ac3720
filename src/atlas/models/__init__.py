"""Who answers: models over a network and models on this machine."""
