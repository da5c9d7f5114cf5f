//! One binary, three faces.
