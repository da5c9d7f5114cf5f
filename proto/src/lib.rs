//! Generated
