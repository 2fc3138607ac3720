"""What must hold before a part of the engine is used on a model."""
