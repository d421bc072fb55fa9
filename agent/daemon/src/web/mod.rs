//! The local page and the API.
