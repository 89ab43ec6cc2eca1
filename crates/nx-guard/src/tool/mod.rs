//! What a tool declares: its effect, the trust of its output, its sinks.
