"""Spans of OpenTelemetry, in the conventions of several instrumentations."""
