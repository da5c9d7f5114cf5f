//! The root: wires every part.
