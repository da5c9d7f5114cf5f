//! May a request enter? Limits and validity, before anything is proposed.
