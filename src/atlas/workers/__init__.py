"""Work spread over processes, behind one interface."""
