//! openraft on our terms.
